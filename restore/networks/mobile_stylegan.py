"""MobileStyleGAN (arXiv 2104.04767): depthwise-separable styled convolutions, Haar wavelets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.haar import inverse_haar
from restore.networks.prior_restorer import Conditions, modulate_half

SLOPE = 0.2  # of every leaky ReLU, in the published graph too


class Affine(nn.Module):
    """w [n,w_dim] -> style [n,c]; the original's fan-in gain is folded into weight and bias."""

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, w_dim) / math.sqrt(w_dim))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, w: Tensor) -> Tensor:
        return F.linear(w, self.weight, self.bias)


class StyledConv(nn.Module):
    """Full 3x3 convolution of styled features, then noise, bias and leaky ReLU (the 4x4 layer)."""

    noise: Tensor

    def __init__(self, w_dim: int, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        self.affine = Affine(w_dim, in_channels)
        self.weight = nn.Parameter(
            torch.randn(out_channels, in_channels, 3, 3) / math.sqrt(9 * in_channels)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise", torch.zeros(1, 1, size, size))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = F.conv2d(x * style[:, :, None, None], self.weight, self.bias, padding=1)
        return F.leaky_relu_(y.add_(self.noise), SLOPE)


class SeparableStyledConv(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 of styled features, then noise, bias and leaky ReLU."""

    noise: Tensor

    def __init__(self, w_dim: int, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        self.affine = Affine(w_dim, in_channels)
        self.depthwise = nn.Parameter(torch.randn(in_channels, 1, 3, 3) / 3)
        self.pointwise = nn.Parameter(
            torch.randn(out_channels, in_channels, 1, 1) / math.sqrt(in_channels)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise", torch.zeros(1, 1, size, size))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = F.conv2d(x * style[:, :, None, None], self.depthwise, padding=1, groups=x.shape[1])
        y = F.conv2d(y, self.pointwise, self.bias)
        # In place: no gradient needs the convolution's output, and memory is what a CPU waits for.
        return F.leaky_relu_(y.add_(self.noise), SLOPE)


class StyledUp(nn.Module):
    """The affine of an up-sampling step: features x style, inverse Haar to twice the size."""

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__()
        self.affine = Affine(w_dim, channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return inverse_haar(x * style[:, :, None, None])


class Level(nn.Module):
    """One resolution: up, conv1, conditions, conv2."""

    def __init__(self, w_dim: int, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        self.up = StyledUp(w_dim, in_channels)
        self.conv1 = SeparableStyledConv(w_dim, in_channels // 4, out_channels, size)
        self.conv2 = SeparableStyledConv(w_dim, out_channels, out_channels, size)

    def forward(
        self, x: Tensor, styles: Sequence[Tensor], condition: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        x = self.conv1(self.up(x, styles[0]), styles[1])
        if condition is not None:
            x = modulate_half(x, condition)
        return self.conv2(x, styles[2])


class ToRGB(nn.Module):
    """The published last layer: style, 1x1 to four sub-bands of RGB, bias, inverse Haar."""

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__()
        self.affine = Affine(w_dim, channels)
        self.weight = nn.Parameter(torch.randn(12, channels, 1, 1) / math.sqrt(channels))
        self.bias = nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return inverse_haar(F.conv2d(x * style[:, :, None, None], self.weight, self.bias))

    def halved(self, x: Tensor, style: Tensor) -> Tensor:
        """The image at half the size: the mean of four pixels is half of the LL band, exactly."""
        return 0.5 * F.conv2d(x * style[:, :, None, None], self.weight[:3], self.bias[:3])


class SizeHead(nn.Module):
    """A way out of the generator at a lower size: styled features to sub-bands, inverse Haar.

    A linear map fitted to one image explains it to 32 dB and better, but each image wants its own:
    so the head has a style (gain per channel, on top of the style of the up-sampling step that
    would come next), an offset per sub-band from w, and a small non-linear branch. The gains, the
    depthwise step and the branch start as nothing, so that a least-squares fit is the start.
    """

    def __init__(self, w_dim: int, channels: int, hidden: int = 48) -> None:
        super().__init__()
        depthwise = torch.zeros(channels, 1, 3, 3)
        depthwise[:, :, 1, 1] = 1
        self.depthwise = nn.Parameter(depthwise)
        self.gain = Affine(w_dim, channels)
        self.offset = Affine(w_dim, 12)
        self.weight = nn.Parameter(torch.randn(12, channels, 1, 1) / math.sqrt(channels))
        self.hidden = nn.Parameter(torch.randn(hidden, channels, 1, 1) / math.sqrt(channels))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.branch = nn.Parameter(torch.zeros(12, hidden, 1, 1))
        for affine in (self.gain, self.offset):
            nn.init.zeros_(affine.weight)
            nn.init.zeros_(affine.bias)

    def style(self, w: Tensor, up_style: Tensor) -> Tensor:
        """Style [n,c+12] of this head: factors of the channels, offsets of the sub-bands."""
        return torch.cat([up_style * (1 + self.gain(w)), self.offset(w)], 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        channels = x.shape[1]
        y = F.conv2d(
            x * style[:, :channels, None, None], self.depthwise, padding=1, groups=channels
        )
        curved = F.leaky_relu(F.conv2d(y, self.hidden, self.hidden_bias), SLOPE)
        bands = F.conv2d(y, self.weight) + F.conv2d(curved, self.branch)
        return inverse_haar(bands + style[:, channels:, None, None])


class MobileStyleGAN(nn.Module):
    """Generator: z or W+ -> image RGB [n,3,size,size], about [-1.4,1.3], to be clamped to [-1,1].

    `channels`: features after each level from 4x4 up (the last level's head doubles the size, so
    (512,)*5 + (256, 128, 64) gives 1024). `head_sizes`: sizes below the full one that have a
    trained head of their own and so need not compute the levels above. Without one, half of the
    full size is exact, from the LL band alone.
    Styles in order: the 4x4 layer; up, conv1, conv2 of each level; to_rgb.
    """

    w_mean: Tensor
    # Both are an nn.ModuleDict; said so, because that class does not tell what it holds.
    blocks: Mapping[str, Level]
    heads: Mapping[str, SizeHead]

    def __init__(
        self,
        channels: Sequence[int] = (512, 512, 512, 512, 512, 256, 128, 64),
        w_dim: int = 512,
        num_mapping: int = 8,
        head_sizes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.w_dim = w_dim
        self.levels = tuple(8 << i for i in range(len(channels) - 1))
        self.out_size = 4 << len(channels)
        self.channels = dict(zip((4, *self.levels), channels, strict=True))
        self.num_styles = 3 * len(self.levels) + 2
        self.mapping_layers = nn.ModuleList(nn.Linear(w_dim, w_dim) for _ in range(num_mapping))
        self.register_buffer("w_mean", torch.zeros(w_dim))
        self.const = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.conv_4 = StyledConv(w_dim, channels[0], channels[0], 4)
        blocks = {
            str(size): Level(w_dim, self.channels[size // 2], self.channels[size], size)
            for size in self.levels
        }
        self.blocks = cast("Mapping[str, Level]", nn.ModuleDict(blocks))
        self.to_rgb = ToRGB(w_dim, channels[-1])
        heads = {
            str(size): SizeHead(w_dim, self.channels[size // 2]) for size in sorted(head_sizes)
        }
        self.heads = cast("Mapping[str, SizeHead]", nn.ModuleDict(heads))

    @property
    def affines(self) -> list[Affine]:
        """The affine of each style, in the order of W+."""
        blocks = [self.blocks[str(size)] for size in self.levels]
        inner = [part.affine for b in blocks for part in (b.up, b.conv1, b.conv2)]
        return [self.conv_4.affine, *inner, self.to_rgb.affine]

    @property
    def style_sizes(self) -> tuple[int, ...]:
        """Channels of each style."""
        return tuple(affine.weight.shape[0] for affine in self.affines)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image sizes that this generator can give."""
        return tuple(sorted({*map(int, self.heads), self.out_size // 2, self.out_size}))

    def mapping(self, z: Tensor) -> Tensor:
        """z [n,w_dim] of unit normal numbers -> w [n,w_dim]."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping_layers:
            x = math.sqrt(2) * F.leaky_relu(layer(x), SLOPE)
        return x

    def num_styles_for(self, size: int) -> int:
        """How many leading styles an image of this size depends on."""
        if str(size) in self.heads:
            return 3 * self.levels.index(size) + 2
        return self.num_styles

    def styles(self, w_plus: Tensor, size: int | None = None) -> list[Tensor]:
        """W+ [n,k,w_dim] -> styles [n,c] of the layers that an image of `size` needs.

        For a size with a head of its own, the last entry is the style of that head.
        """
        size = self._checked(self.out_size if size is None else size)
        count = self.num_styles_for(size)
        styles = [affine(w_plus[:, i]) for i, affine in enumerate(self.affines[:count])]
        if str(size) in self.heads:
            styles[-1] = self.heads[str(size)].style(w_plus[:, count - 1], styles[-1])
        return styles

    def synthesis(
        self, w_plus: Tensor, conditions: Conditions | None = None, size: int | None = None
    ) -> Tensor:
        """W+ [n,k,w_dim] -> image [n,3,size,size]; conditions as in `PriorRestorer`."""
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_styles, self.w_dim):
            raise ValueError(
                f"w_plus has shape {tuple(w_plus.shape)}, "
                f"expected [n, {self.num_styles}, {self.w_dim}]"
            )
        size = self.out_size if size is None else size
        return self.synthesis_from_styles(self.styles(w_plus, size), conditions, size)

    def synthesis_from_styles(
        self,
        styles: Sequence[Tensor],
        conditions: Conditions | None = None,
        size: int | None = None,
    ) -> Tensor:
        """Styles [n,c] of each layer, from `styles(..., size)` -> image [n,3,size,size]."""
        size = self._checked(self.out_size if size is None else size)
        head: Callable[[Tensor, Tensor], Tensor]
        if str(size) in self.heads:
            x = self.features(styles, conditions, last=size // 2)
            head = self.heads[str(size)]
        else:
            x = self.features(styles, conditions, last=self.out_size // 2)
            head = self.to_rgb if size == self.out_size else self.to_rgb.halved
        return head(x, styles[self.num_styles_for(size) - 1])

    def features(
        self, styles: Sequence[Tensor], conditions: Conditions | None, last: int
    ) -> Tensor:
        """Features [n,c,last,last] after `conv2` of level `last`."""
        conditions = conditions or {}
        x = self.conv_4(self.const.expand(styles[0].shape[0], -1, -1, -1), styles[0])
        for i, size in enumerate(self.levels):
            if size > last:
                break
            x = self.blocks[str(size)](x, styles[1 + 3 * i : 4 + 3 * i], conditions.get(size))
        return x

    def _checked(self, size: int) -> int:
        if size not in self.sizes:
            raise ValueError(f"this generator gives images of {self.sizes} px, not {size} px")
        return size
