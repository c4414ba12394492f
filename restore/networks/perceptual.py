"""Feature networks of perceptual losses: VGG, SqueezeNet, and LPIPS on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import OptionError

# ImageNet mean and deviation carried over to images in [-1,1]: 2 m - 1 and 2 s.
IMAGENET_MEAN = (-0.030, -0.088, -0.188)
IMAGENET_STD = (0.458, 0.448, 0.450)

# (index in `features`, input, squeezed, each half of the output), SqueezeNet 1.1
_FIRES = (
    (3, 64, 16, 64),
    (4, 128, 16, 64),
    (6, 128, 32, 128),
    (7, 256, 32, 128),
    (9, 256, 48, 192),
    (10, 384, 48, 192),
    (11, 384, 64, 256),
    (12, 512, 64, 256),
)
# The layers after which lpips reads the activations.
_TAPS = (1, 4, 7, 9, 10, 11, 12)


class _Fire(nn.Module):
    """Squeeze to few channels, expand by a 1x1 and a 3x3 convolution side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), dim=1))


class SqueezeNetFeatures(nn.Module):
    """torchvision's `squeezenet1_1().features` with its key names and ImageNet normalisation.

    `forward(image [n,3,h,w] RGB in [-1,1])` returns seven activations, about 1/2, 1/4, 1/8 and
    four times 1/16 of the size. Sides below 31 px leave nothing for the deepest ones.
    """

    kind = "squeezenet1_1"
    channels = (64, 128, 256, 384, 384, 512, 512)
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: dict[int, nn.Module] = {
            0: nn.Conv2d(3, 64, 3, stride=2),
            1: nn.ReLU(),
            **{i: nn.MaxPool2d(3, 2, ceil_mode=True) for i in (2, 5, 8)},
            **{i: _Fire(c, s, e) for i, c, s, e in _FIRES},
        }
        self.features = nn.Sequential(*(layers[i] for i in sorted(layers)))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> SqueezeNetFeatures:
        """A network with these weights; keys start with `features.`, a classifier is ignored."""
        network = cls()
        network.load_state_dict({k: v for k, v in state.items() if k.startswith("features.")})
        return network

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image - self.mean) / self.std
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _TAPS:
                taps.append(x)
        return taps


# Channels of the convolutions of each block; a pooling follows each block (Simonyan 2014, E).
_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
# GFPGAN's choice: the last convolution of each block, before its ReLU.
GFPGAN_LAYERS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")


class Vgg19Features(nn.Module):
    """torchvision's `vgg19().features`, its key names, with ImageNet normalisation inside.

    `forward(image [n,3,h,w] RGB in [-1,1])` returns one activation per name in `layers`
    (`conv3_4` is before its ReLU, `relu3_4` after); the layers behind the last are not built.
    """

    kind = "vgg19"
    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str] = GFPGAN_LAYERS) -> None:
        super().__init__()
        named: list[tuple[str, nn.Module, int]] = []
        channels = 3
        for block, (out, repeats) in enumerate(_BLOCKS, start=1):
            for i in range(1, repeats + 1):
                named.append((f"conv{block}_{i}", nn.Conv2d(channels, out, 3, padding=1), out))
                # Not in place: the taps before a ReLU must survive it.
                named.append((f"relu{block}_{i}", nn.ReLU(), out))
                channels = out
            named.append((f"pool{block}", nn.MaxPool2d(2), out))
        order = [name for name, _, _ in named]
        unknown = [name for name in layers if name not in order]
        if unknown or not layers:
            raise ValueError(f"VGG19 layers {list(layers)}: unknown {unknown}; known are {order}")
        self._taps = {order.index(name) for name in layers}
        if sorted(self._taps) != [order.index(name) for name in layers]:
            raise ValueError(f"VGG19 layers must be in the network's order, not {list(layers)}")
        self.layers = tuple(layers)
        self.channels = tuple(named[i][2] for i in sorted(self._taps))
        self.features = nn.Sequential(*(m for _, m, _ in named[: max(self._taps) + 1]))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], layers: Sequence[str] = GFPGAN_LAYERS
    ) -> Vgg19Features:
        """A network with these weights; the classifier and layers behind the last are ignored."""
        network = cls(layers)
        wanted = network.state_dict()
        network.load_state_dict({k: v for k, v in state.items() if k in wanted})
        return network

    def forward(self, image: Tensor) -> list[Tensor]:
        x = (image - self.mean) / self.std
        taps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                taps.append(x)
        return taps


class LpipsLoss(nn.Module):
    """LPIPS (Zhang et al. 2018, eq. 1) on any feature network: `[n]`, one distance per image.

    `network(image) -> list of activations`, `network.channels` their widths. `heads` are lpips'
    linear weights `[c]` per activation (`feature_files.load_lpips_heads`); `None` weighs all
    channels of an activation alike and sums over activations: a plain feature distance.
    With lpips' own backbone weights and heads the values are lpips' own.
    """

    def __init__(self, network: nn.Module, heads: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        widths = tuple(network.channels)  # type: ignore[arg-type]
        if heads is not None and tuple(len(h) for h in heads) != widths:
            raise OptionError(
                f"LPIPS heads of widths {[len(h) for h in heads]} do not fit a feature network of "
                f"widths {list(widths)}; use the heads of the same backbone, or none"
            )
        for index, width in enumerate(widths):
            head = torch.ones(width) if heads is None else heads[index].detach().clone()
            self.register_buffer(f"head{index}", head[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> LpipsLoss:
        return super().train(False)

    def forward(self, restored: Tensor, gt: Tensor, mask: Tensor | None = None) -> Tensor:
        """`restored`, `gt` [n,3,h,w] RGB in [-1,1]; `mask` [n,1,h,w] weighs the places. -> [n]."""
        first = self.network(restored)
        with torch.set_grad_enabled(gt.requires_grad and torch.is_grad_enabled()):
            second = self.network(gt)
        total = restored.new_zeros(len(restored), dtype=torch.promote_types(gt.dtype, torch.float))
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            difference = (_unit(a) - _unit(b)).square()
            spread = (difference * self.get_buffer(f"head{index}")).sum(1, keepdim=True)
            total = total + masked_mean(spread, mask)
        return total


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean per sample of [n,c,h,w], weighted by a mask [n,1,H,W] pooled to the same size: `[n]`.

    Of an all-zero mask the mean is 0.
    """
    if mask is None:
        return values.mean((1, 2, 3))
    weights = at_size(mask, values.shape[-2:], values.dtype)
    total = weights.sum((1, 2, 3)).clamp_min(1e-6)
    return (values.mean(1, keepdim=True) * weights).sum((1, 2, 3)) / total


def at_size(mask: Tensor, size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A mask [n,1,h,w] averaged down to (h, w) `size`, in `dtype`."""
    mask = mask.to(dtype)
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    return F.adaptive_avg_pool2d(mask, (size[0], size[1]))


def _unit(features: Tensor) -> Tensor:
    # lpips divides by the norm + 1e-10; its square root has no gradient where all channels are 0.
    features = widened(features)
    norm = (features.square().sum(1, keepdim=True) + 1e-20).sqrt()
    return features / (norm + 1e-10)


def widened(x: Tensor) -> Tensor:
    """At least float32: sums over half-precision activations lose the small differences."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
