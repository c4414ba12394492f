"""ArcFace embeddings: GFPGAN's gray ResNet18 and the IR-SE trunks that facexlib and pSp use."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# FFHQ five points at 128 px: GFPGAN feeds the whole crop, shrunk to 128.
FFHQ128_POINTS = (
    (48.2453, 59.9868),
    (79.7257, 60.0484),
    (64.1585, 78.5048),
    (50.3153, 92.8526),
    (78.2723, 92.7878),
)
# ArcFace's template at 112 x 112: SphereFace's, eight pixels to the right.
ARCFACE_POINTS = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


class _GrayBlock(nn.Module):
    """Improved residual block: bn, conv, bn, PReLU, conv, bn; key names of GFPGAN's file."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        return self.prelu(self.bn2(self.conv2(x)) + skip)


class GrayArcFace18(nn.Module):
    """`forward(face [n,1,128,128] gray in [-1,1]) -> [n,512]`: GFPGAN's `arcface_resnet18.pth`."""

    kind = "gray_arcface18"
    input_size = (128, 128)
    template = FFHQ128_POINTS
    gray = True

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU()
        channels = width
        for level in range(4):
            out = width << level
            stage = nn.Sequential(
                _GrayBlock(channels, out, 1 if level == 0 else 2), _GrayBlock(out, out, 1)
            )
            self.add_module(f"layer{level + 1}", stage)
            channels = out
        self.bn4 = nn.BatchNorm2d(channels)
        self.fc5 = nn.Linear(channels * 8 * 8, channels)
        self.bn5 = nn.BatchNorm1d(channels)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> GrayArcFace18:
        """A network with these weights, strictly; the width is read off `conv1.weight`."""
        network = cls(width=state["conv1.weight"].shape[0])
        network.load_state_dict(dict(state))
        return network

    def forward(self, face: Tensor) -> Tensor:
        x = F.max_pool2d(self.prelu(self.bn1(self.conv1(face))), 2)
        for level in range(1, 5):
            x = self.get_submodule(f"layer{level}")(x)
        return self.bn5(self.fc5(torch.flatten(self.bn4(x), 1)))


class _Excitation(nn.Module):
    """Squeeze and excitation by two 1x1 convolutions without bias."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class _IrBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int, squeezed: int) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer: nn.Module | None = None
        if channels != out:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        layers: list[nn.Module] = [
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, out, 3, padding=1, bias=False),
            nn.PReLU(out),
            nn.Conv2d(out, out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out),
        ]
        if squeezed:
            layers.append(_Excitation(out, squeezed))
        self.res_layer = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut_layer is not None:
            skip = self.shortcut_layer(x)
        else:
            skip = x[:, :, :: self.stride, :: self.stride]
        return self.res_layer(x) + skip


class IrArcFace(nn.Module):
    """IR and IR-SE trunks (50, 100, 152): `forward(face [n,3,112,112] RGB in [-1,1]) -> [n,512]`.

    Key names of InsightFace_Pytorch, which facexlib's `recognition_arcface_ir_se50.pth` and pSp's
    `model_ir_se50.pth` share. `blocks` lists (channels, out, stride, squeezed or 0).
    """

    kind = "ir_arcface"
    input_size = (112, 112)
    template = ARCFACE_POINTS
    gray = False

    def __init__(self, blocks: tuple[tuple[int, int, int, int], ...], embedding: int = 512) -> None:
        super().__init__()
        first, last = blocks[0][0], blocks[-1][1]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        self.body = nn.Sequential(*(_IrBlock(*block) for block in blocks))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Identity(),  # dropout in training; the index counts
            nn.Flatten(),
            nn.Linear(last * 7 * 7, embedding),
            nn.BatchNorm1d(embedding),
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> IrArcFace:
        """A network with these weights, strictly; the depth and widths are read off the keys.

        A block whose shortcut has weights begins a stage and halves the size, as the first does.
        """
        count = 1 + max(int(m[1]) for k in state if (m := re.match(r"body\.(\d+)\.", k)))
        blocks = []
        for i in range(count):
            out, channels = state[f"body.{i}.res_layer.1.weight"].shape[:2]
            gate = state.get(f"body.{i}.res_layer.5.fc1.weight")
            stride = 2 if i == 0 or f"body.{i}.shortcut_layer.0.weight" in state else 1
            blocks.append((channels, out, stride, 0 if gate is None else gate.shape[0]))
        network = cls(tuple(blocks), state["output_layer.3.weight"].shape[0])
        network.load_state_dict(dict(state))
        return network

    def forward(self, face: Tensor) -> Tensor:
        return self.output_layer(self.body(self.input_layer(face)))
