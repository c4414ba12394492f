"""Face recognition networks: ArcFace, MobileFaceNet, the packaged one; their alignment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from restore.geometry import FFHQ_512, similarity

_LUMA = (0.2989, 0.587, 0.114)  # GFPGAN's gray for its identity network


def align_to_network(
    image: Tensor, network: nn.Module, frame_to_crop: Tensor | None = None
) -> Tensor:
    """The face in the frame that an identity network wants: `[n,3|1,h,w]`, RGB or gray, [-1,1].

    `image` [n,3,s,s] RGB in [-1,1] is a crop in the FFHQ frame of size s; `frame_to_crop`
    [n,2,3] says where the frame's pixels really lie in each crop when that one is jittered.
    Shrinking is antialiased first, so that what the network sees has no moiré and all pixels of
    the crop get gradients. Half precision is sampled in float32.
    """
    if image.dtype in (torch.float16, torch.bfloat16):
        image = image.float()
    if network.gray:
        luma = image.new_tensor(_LUMA)[:, None, None]
        image = (image * luma).sum(1, keepdim=True)
    height, width = network.input_size  # type: ignore[misc]
    size = image.shape[-1]
    points = np.asarray(FFHQ_512) * (size / 512)
    to_crop = _homogeneous(similarity(np.asarray(network.template), points))
    scale = crop_scale(network, size)
    matrix = image.new_tensor(to_crop[None], dtype=torch.float64)
    if frame_to_crop is not None:
        matrix = frame_to_crop.to(matrix)[:, :2, :2] @ matrix[:, :2]
        matrix[:, :, 2] += frame_to_crop.to(matrix)[:, :, 2]
    shrunk = image
    if scale > 1:
        small = (max(1, round(image.shape[-2] / scale)), max(1, round(size / scale)))
        with torch.autocast(image.device.type, enabled=False):
            shrunk = F.interpolate(
                image.contiguous(), small, mode="bilinear", align_corners=False, antialias=True
            )
    grid = _sampling_grid(matrix[:, :2], (height, width), (image.shape[-2], size)).to(image)
    grid = grid.expand(len(image), -1, -1, -1)
    with torch.autocast(image.device.type, enabled=False):
        return F.grid_sample(shrunk, grid, padding_mode="border", align_corners=False)


def identity_cosine(
    network: nn.Module, a: Tensor, b: Tensor, frame_to_crop: Tensor | None = None
) -> Tensor:
    """Cosine of the embeddings of two batches of FFHQ-frame crops [n,3,s,s] in [-1,1]: `[n]`.

    No graph is built for a side that needs no gradient. The two may differ in size (one shared
    `frame_to_crop` then does not serve both: align them first).
    """
    return F.cosine_similarity(
        embed(network, a, frame_to_crop), embed(network, b, frame_to_crop), dim=1
    )


def embed(network: nn.Module, image: Tensor, frame_to_crop: Tensor | None = None) -> Tensor:
    """The embedding `[n,d]` (float32 or wider, not normalised) of FFHQ-frame crops."""
    with torch.set_grad_enabled(image.requires_grad and torch.is_grad_enabled()):
        vector = network(align_to_network(image, network, frame_to_crop))
    found: Tensor = vector if vector.dtype == torch.float64 else vector.float()
    return found


def crop_scale(network: nn.Module, size: int) -> float:
    """Pixels of an FFHQ-frame crop of `size` under one pixel of the network's input."""
    points = np.asarray(FFHQ_512) * (size / 512)
    matrix = similarity(np.asarray(network.template), points)
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def _homogeneous(matrix: np.ndarray) -> np.ndarray:
    return np.concatenate([matrix, [[0.0, 0.0, 1.0]]])


def _sampling_grid(matrix: Tensor, out: tuple[int, int], source: tuple[int, int]) -> Tensor:
    """`grid_sample` coordinates [m,h,w,2] for out-pixel -> source-pixel matrices [m,2,3].

    Pixel coordinates put the centre of pixel i at i; grid_sample's -1..1 spans the outer edges,
    which is why a source shrunk as a whole needs no other grid.
    """
    height, width = out
    ys = torch.arange(height, dtype=matrix.dtype, device=matrix.device)
    xs = torch.arange(width, dtype=matrix.dtype, device=matrix.device)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    points = torch.stack((x, y, torch.ones_like(x)), dim=-1)
    places = torch.einsum("hwk,mjk->mhwj", points, matrix)
    sides = torch.tensor([source[1], source[0]], dtype=matrix.dtype, device=matrix.device)
    return (places + 0.5) * 2 / sides - 1


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
        found: Tensor = self.prelu(self.bn2(self.conv2(x)) + skip)
        return found


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
        found: Tensor = self.bn5(self.fc5(torch.flatten(self.bn4(x), 1)))
        return found


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
        found: Tensor = self.res_layer(x) + skip
        return found


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
        found: Tensor = self.output_layer(self.body(self.input_layer(face)))
        return found


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
        found: Tensor = x + self.conv(x) if self.connect else self.conv(x)
        return found


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


def normed_conv(channels: int, out: int, kernel: int, stride: int, norm: bool) -> nn.Sequential:
    """A convolution that keeps the size (but for its stride), with a batch norm or a bias."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(out)) if norm else nn.Sequential(conv)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions [n,c,h,w] -> [n,c,h,w], added to what went in."""

    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.first = normed_conv(channels, channels, 3, 1, norm)
        self.second = normed_conv(channels, channels, 3, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def folded_state(network: nn.Module) -> dict[str, Tensor]:
    """Weights and biases of every `normed_conv` with its batch norm folded in, by their names.

    The network is put into eval mode: the norms' running statistics are what is folded.
    """
    state: dict[str, Tensor] = {}
    for name, module in network.eval().named_modules():
        if isinstance(module, nn.Sequential) and len(module) == 2:
            conv, norm = module[0], module[1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = fuse_conv_bn_eval(conv, norm)
                assert fused.bias is not None
                state[f"{name}.0.weight"], state[f"{name}.0.bias"] = fused.weight, fused.bias
    return state


class IdentityStudent(nn.Module):
    """`forward(face [n,3,112,96] RGB in [-1,1]) -> [n,dimensions]` of length 1.

    The face stands as in SphereFace's template (`restore.trust.identity.identity_view`). Plain 3x3
    convolutions: those are what CPUs are fast at. `widths` and `blocks`: channels and residual
    blocks at 28x24, 14x12 and 7x6 px. `norm`: with batch norms, as it is trained; without, as it
    is shipped (`folded`).
    """

    input_size = (112, 96)

    def __init__(
        self,
        dimensions: int = 128,
        widths: tuple[int, int, int] = (48, 96, 160),
        blocks: tuple[int, int, int] = (1, 2, 1),
        head: int = 384,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "dimensions": dimensions,
            "widths": list(widths),
            "blocks": list(blocks),
            "head": head,
            "norm": norm,
        }
        self.stem = normed_conv(3, widths[0] // 3, 3, 2, norm)
        self.down = nn.ModuleList()
        self.stages = nn.ModuleList()
        channels = widths[0] // 3
        for width, count in zip(widths, blocks, strict=True):
            self.down.append(normed_conv(channels, width, 3, 2, norm))
            self.stages.append(nn.Sequential(*(ResidualBlock(width, norm) for _ in range(count))))
            channels = width
        self.widen = normed_conv(channels, head, 1, 1, norm)
        # one weight for each place of the face: the pooling of MobileFaceNet (Chen et al. 2018)
        self.pool = nn.Parameter(torch.empty(head, 7, 6).uniform_(-1, 1) / 42**0.5)
        self.pool_norm = nn.BatchNorm1d(head) if norm else nn.Identity()
        self.project = nn.Linear(head, dimensions)

    def features(self, face: Tensor) -> Tensor:
        """The last map [n,c,7,6] before the head."""
        x = F.relu(self.stem(face))
        for down, stage in zip(self.down, self.stages, strict=True):
            x = stage(F.relu(down(x)))
        return x

    def embed(self, features: Tensor) -> Tensor:
        """Map [n,c,7,6] -> float32 unit vectors [n,dimensions]."""
        x = F.relu(self.widen(features))
        # a depthwise convolution, written so that its gradient is quick on a CPU
        pooled = (x * self.pool.to(x.dtype)).sum((2, 3), dtype=torch.float32)
        return F.normalize(self.project(self.pool_norm(pooled)).float(), dim=1)

    def forward(self, face: Tensor) -> Tensor:
        return self.embed(self.features(face))


def folded(network: IdentityStudent) -> IdentityStudent:
    """The same function without batch norms, as it is shipped; in eval mode, weights copied."""
    plain = IdentityStudent(**{**network.arguments, "norm": False}).eval()
    state = {"pool": network.pool, **folded_state(network)}
    last, pooled = network.project, network.pool_norm
    state["project.weight"], state["project.bias"] = last.weight, last.bias
    if isinstance(pooled, nn.BatchNorm1d):
        assert pooled.running_mean is not None and pooled.running_var is not None
        gain = pooled.weight / (pooled.running_var + pooled.eps).sqrt()
        state["project.weight"] = last.weight * gain
        state["project.bias"] = last.bias + last.weight @ (pooled.bias - pooled.running_mean * gain)
    plain.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    return plain
