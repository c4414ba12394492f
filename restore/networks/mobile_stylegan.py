"""MobileStyleGAN, the public face prior: mapping, synthesis, heads for other sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.prior_restorer import Conditions, modulate_half


def inverse_haar(bands: Tensor) -> Tensor:
    """Sub-bands [n,4c,h,w] -> [n,c,2h,2w].

    The first c channels are LL; the other 3c belong in threes (LH, HL, HH) to their channel
    (MobileStyleGAN, arXiv 2104.04767, section 3.2, in the channel order of its public weights).
    """
    c = bands.shape[1] // 4
    ll = bands[:, :c]
    lh, hl, hh = bands[:, c:].unflatten(1, (c, 3)).unbind(2)
    top, bottom = ll + lh, ll - lh
    sides, cross = hl + hh, hl - hh
    # rows (0,·): LL+LH ± (HL+HH); rows (1,·): LL-LH ± (HL-HH)
    quad = torch.stack([top + sides, top - sides, bottom + cross, bottom - cross], dim=2)
    return torch.pixel_shuffle(quad.flatten(1, 2) * 0.5, 2)


def haar(image: Tensor) -> Tensor:
    """Image [n,c,2h,2w] -> sub-bands [n,4c,h,w] in the order that `inverse_haar` reads."""
    c = image.shape[1]
    a, b, d, e = torch.pixel_unshuffle(image, 2).unflatten(1, (c, 4)).unbind(2)
    ll, lh = (a + b + d + e) * 0.5, (a + b - d - e) * 0.5
    hl, hh = (a - b + d - e) * 0.5, (a - b - d + e) * 0.5
    return torch.cat([ll, torch.stack([lh, hl, hh], dim=2).flatten(1, 2)], dim=1)


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
        found: Tensor = self.conv2(x, styles[2])
        return found


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
        found: Tensor = x
        return found

    def _checked(self, size: int) -> int:
        if size not in self.sizes:
            raise ValueError(f"this generator gives images of {self.sizes} px, not {size} px")
        return size


STYLES_OF_LEVEL = 3  # up, conv1, conv2
Place = tuple[int, int]


class ShrunkenConv(nn.Module):
    """A separable styled convolution whose output is wanted shrunken, from shrunken features.

    The mean of a leaky ReLU over a block is that of its mean, with the corner rounded by how much
    the features differ inside the block: `spread` says that, channel by channel.
    """

    noise: Tensor

    def __init__(self, in_channels: int, out_channels: int, size: int, further: int = 0) -> None:
        super().__init__()
        self.depthwise = nn.Parameter(torch.zeros(in_channels, 1, 3, 3))
        self.pointwise = nn.Parameter(torch.zeros(out_channels, in_channels + further, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.spread = nn.Parameter(torch.full((out_channels, 1, 1), 0.05))
        self.register_buffer("noise", torch.zeros(1, 1, size, size))

    def forward(self, x: Tensor, place: Place, further: Tensor | None = None) -> Tensor:
        """Styled features [n,c,h,w], and further ones for the 1x1 step alone."""
        top, left = place
        noise = self.noise[:, :, top : top + x.shape[2], left : left + x.shape[3]]
        y = F.conv2d(x, self.depthwise, padding=1, groups=x.shape[1])
        if further is not None:
            y = torch.cat([y, further], 1)
        y = F.conv2d(y, self.pointwise, self.bias) + noise
        return 0.6 * y + 0.4 * torch.sqrt(y.square() + self.spread.square())

    @torch.no_grad()
    def start_from(self, conv: SeparableStyledConv) -> None:
        """Take the weights of the convolution at its own, larger size."""
        size = self.noise.shape[-1]
        self.depthwise.copy_(shrunken_kernel(conv.depthwise, conv.noise.shape[-1] // size))
        self.pointwise.zero_()
        self.pointwise[:, : conv.pointwise.shape[1]] = conv.pointwise
        self.bias.copy_(conv.bias)
        self.noise.copy_(F.adaptive_avg_pool2d(conv.noise, size))


class ShrunkenLevel(nn.Module):
    """A level of the generator at a fraction of its size."""

    def __init__(self, in_channels: int, out_channels: int, size: int) -> None:
        super().__init__()
        inner = in_channels // 4
        self.conv1 = ShrunkenConv(inner, out_channels, size, further=in_channels - inner)
        self.conv2 = ShrunkenConv(out_channels, out_channels, size)

    def forward(self, x: Tensor, styles: Sequence[Tensor], place: Place) -> Tensor:
        """Features [n,c,s,s] -> [n,c',s,s]; `styles` of up, conv1, conv2, each [n,channels]."""
        up, first, second = styles
        inner = x.shape[1] // 4
        # Half of LL is the mean of an inverse Haar step's four pixels; the other bands are in
        # threes to their channel, and say how much the four differ.
        thrice = first[:, :, None].expand(-1, -1, 3).flatten(1)
        scale = 0.5 * up * torch.cat([first, thrice], 1)
        x = x * scale[:, :, None, None]
        y = self.conv1(x[:, :inner], place, x[:, inner:])
        found: Tensor = self.conv2(y * second[:, :, None, None], place)
        return found


class PriorHead(nn.Module):
    """Features [n,c,size,size] of level `size` and the later styles -> image [n,3,size,size]."""

    def __init__(self, channels: Sequence[int], size: int) -> None:
        super().__init__()
        self.size = size
        self.levels = nn.ModuleList(
            ShrunkenLevel(before, after, size) for before, after in pairwise(channels)
        )
        self.weight = nn.Parameter(torch.zeros(3, channels[-1], 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, styles: Sequence[Tensor], place: Place = (0, 0)) -> Tensor:
        """`styles`: those of the levels above `size`, then that of `to_rgb`.

        `place`: (top, left) of the features where they are a crop.
        """
        for i, level in enumerate(self.levels):
            x = level(x, styles[STYLES_OF_LEVEL * i : STYLES_OF_LEVEL * (i + 1)], place)
        return F.conv2d(x * styles[-1][:, :, None, None], self.weight, self.bias)


class PriorHeads(nn.Module):
    """Heads of a MobileStyleGAN for sizes below half of its own (half is exact without one)."""

    heads: Mapping[str, PriorHead]

    def __init__(self, channels: Sequence[int], sizes: Sequence[int]) -> None:
        super().__init__()
        levels = [4 << i for i in range(len(channels))]
        self.sizes = tuple(sorted(sizes))
        wrong = [size for size in self.sizes if size not in levels[1:-1]]
        if wrong:
            raise ValueError(f"sizes {wrong}: expected some of {levels[1:-1]}")
        heads = {str(size): PriorHead(channels[levels.index(size) :], size) for size in self.sizes}
        self.heads = cast("Mapping[str, PriorHead]", nn.ModuleDict(heads))

    def forward(self, generator: MobileStyleGAN, w_plus: Tensor, size: int) -> Tensor:
        """W+ [n,k,w_dim] -> image [n,3,size,size] RGB, about [-1.4,1.3], not clamped."""
        return self.from_styles(generator, generator.styles(w_plus), size)

    def from_styles(self, generator: MobileStyleGAN, styles: Sequence[Tensor], size: int) -> Tensor:
        """All styles of the full-size picture -> image [n,3,size,size]."""
        x = generator.features(styles, None, last=size)
        found: Tensor = self.heads[str(size)](x, styles[later_styles(generator, size) :])
        return found

    def start_from(self, generator: MobileStyleGAN) -> None:
        """Weights of the generator's own later levels, shrunk."""
        for head in self.heads.values():
            above = [level for level in generator.levels if level > head.size]
            for level, part in zip(above, head.levels, strict=True):
                block = generator.blocks[str(level)]
                cast(ShrunkenLevel, part).conv1.start_from(block.conv1)
                cast(ShrunkenLevel, part).conv2.start_from(block.conv2)
            with torch.no_grad():
                # the mean of the last step's four pixels, as in `ToRGB.halved`
                head.weight.copy_(0.5 * generator.to_rgb.weight[:3])
                head.bias.copy_(0.5 * generator.to_rgb.bias[:3])


def later_styles(generator: MobileStyleGAN, size: int) -> int:
    """Place of the first style that features of level `size` do not depend on."""
    return STYLES_OF_LEVEL * (generator.levels.index(size) + 1) + 1


def shrunken_kernel(kernel: Tensor, factor: int) -> Tensor:
    """Kernel [c,1,3,3] for maps `factor` times smaller, exact where blocks are of one value."""
    side = 1 / factor
    share = kernel.new_tensor([[side, 0, 0], [1 - side, 1, 1 - side], [0, 0, side]])
    return share @ kernel @ share.T


def w_statistics(
    generator: MobileStyleGAN, count: int = 65536, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Mean [w_dim] and covariance [w_dim,w_dim] float32 of w over `count` unit normal z."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        w = torch.cat(
            [
                generator.mapping(torch.randn(4096, generator.w_dim, generator=draws))
                for _ in range(max(1, count // 4096))
            ]
        ).double()
    return w.mean(0).float(), torch.cov(w.T).float()


def principal_axes(covariance: Tensor, rank: int) -> Tensor:
    """The `rank` strongest axes of w [rank,w_dim], each as long as its standard deviation."""
    values, vectors = torch.linalg.eigh(covariance.double())
    axes = (vectors * values.clamp_min(0).sqrt()).T.flip(0)
    found: Tensor = axes[:rank].float()
    return found
