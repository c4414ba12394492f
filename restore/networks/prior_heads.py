"""Smaller pictures of MobileStyleGAN: the levels above a size, worked through at that size.

A picture of 256 px from features of level 256 needs what the level of 512 px and `to_rgb` would do
with them, shrunk. So the head of a size has those levels' own layers, styled by the generator's own
styles, on maps of the picture's size: a kernel becomes its share at that size, the inverse Haar
step its mean. That is a start near the shrunken full-size picture; training does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.mobile_stylegan import MobileStyleGAN, SeparableStyledConv

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
        scale = 0.5 * up * torch.cat([first, first.repeat_interleave(3, 1)], 1)
        x = x * scale[:, :, None, None]
        y = self.conv1(x[:, :inner], place, x[:, inner:])
        return self.conv2(y * second[:, :, None, None], place)


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
        return self.heads[str(size)](x, styles[later_styles(generator, size) :])

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
