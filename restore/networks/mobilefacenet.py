"""MobileFaceNet: a 128-d face embedding from an aligned 112x96 crop."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# (expansion, channels, repeats, stride of the first), MobileFaceNet (Chen et al. 2018), table 1
_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))

# Left eye, right eye, nose, mouth corners in a crop of 112 x 96 (h x w), SphereFace's template.
SPHEREFACE_POINTS = (
    (30.2946, 51.6963),
    (65.5318, 51.5014),
    (48.0252, 71.7366),
    (33.5493, 92.3655),
    (62.7299, 92.2041),
)


class _ConvBlock(nn.Module):
    """Convolution, batch norm and, unless linear, PReLU."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        depthwise: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        groups = channels if depthwise else 1
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        if not linear:
            self.prelu = nn.PReLU(out)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.linear else self.prelu(x)


class _Bottleneck(nn.Module):
    """Inverted residual: expand 1x1, depthwise 3x3, project 1x1."""

    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.connect = stride == 1 and channels == out
        self.conv = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.PReLU(wide),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.PReLU(wide),
            nn.Conv2d(wide, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.connect else self.conv(x)


class MobileFaceNet(nn.Module):
    """`forward(face [n,3,112,96] RGB in [-1,1]) -> [n,128]`, not normalised.

    Trained on (x - 127.5) / 128, which is [-1,1] to within 0.4 %: the embedding does not notice.
    """

    kind = "mobilefacenet"
    input_size = (112, 96)
    template = SPHEREFACE_POINTS
    gray = False

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _ConvBlock(3, 64, 3, 2, 1)
        self.dw_conv1 = _ConvBlock(64, 64, 3, 1, 1, depthwise=True)
        blocks, channels = [], 64
        for expansion, out, repeats, stride in _STAGES:
            for i in range(repeats):
                blocks.append(_Bottleneck(channels, out, stride if i == 0 else 1, expansion))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = _ConvBlock(channels, 512, 1)
        self.linear7 = _ConvBlock(512, 512, (7, 6), depthwise=True, linear=True)
        self.linear1 = _ConvBlock(512, 128, 1, linear=True)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> MobileFaceNet:
        """A network with these weights, strictly."""
        network = cls()
        network.load_state_dict(dict(state))
        return network

    def fold_batch_norm(self) -> MobileFaceNet:
        """Merge each batch norm into its convolution, in place: the same values, a fifth faster.

        For a frozen network in eval mode only; its state dict no longer is the file's.
        """
        for module in list(self.modules()):
            if isinstance(module, _ConvBlock):
                module.conv = fuse_conv_bn_eval(module.conv, module.bn)
                module.bn = nn.Identity()  # type: ignore[assignment]
            elif isinstance(module, _Bottleneck):
                for i in (0, 3, 6):
                    module.conv[i] = fuse_conv_bn_eval(module.conv[i], module.conv[i + 1])  # type: ignore[type-var, arg-type]
                    module.conv[i + 1] = nn.Identity()
        return self

    def forward(self, face: Tensor) -> Tensor:
        x = self.dw_conv1(self.conv1(face))
        x = self.conv2(self.blocks(x))
        return torch.flatten(self.linear1(self.linear7(x)), 1)
