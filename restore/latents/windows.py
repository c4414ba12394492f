"""A window of the full-size picture painted by itself: what makes fine-tuning affordable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.errors import InputError
from restore.latents.spaces import Generator
from restore.networks.mobile_stylegan import (
    SLOPE,
    MobileStyleGAN,
    SeparableStyledConv,
    inverse_haar,
)

MARGIN = 2  # px of the last whole level around a window; two convolutions a level reach less far


@dataclass(frozen=True)
class Window:
    """A square of `size` px at (top, left) of the picture of `full` px."""

    top: int
    left: int
    size: int
    full: int

    def of(self, picture: Tensor) -> Tensor:
        """The window of pictures [n,c,full,full]."""
        bottom, right = self.top + self.size, self.left + self.size
        return picture[..., self.top : bottom, self.left : right]


def whole_level(generator: Generator, largest: int = 64) -> int:
    """The level in px up to which features are painted whole, at most `largest`."""
    if not isinstance(generator, MobileStyleGAN):
        return generator.out_size
    return max((level for level in generator.levels if level <= largest), default=8)


def whole_features(generator: Generator, styles: Sequence[Tensor]) -> Tensor | None:
    """Features [n,c,r,r] of the last whole level; None for a StyleGAN2, which has none."""
    if not isinstance(generator, MobileStyleGAN):
        return None
    return generator.features(styles, None, whole_level(generator))


def draw_window(generator: Generator, size: int, draws: torch.Generator) -> Window:
    """A random window, on the grid of the last whole level. A StyleGAN2's is cut out of the whole.

    Raises InputError where `size` is no multiple of that grid's cells, or too large.
    """
    full = generator.out_size
    cell = full // whole_level(generator)
    if not cell <= size <= full or size % cell:
        raise InputError(f"window {size} px: expected a multiple of {cell} up to {full}")
    places = (full - size) // cell + 1
    top, left = torch.randint(0, places, (2,), generator=draws).tolist()
    return Window(top * cell, left * cell, size, full)


def paint_window(
    generator: Generator,
    styles: Sequence[Tensor],
    window: Window,
    features: Tensor | None = None,
) -> Tensor:
    """S -> the window [n,3,size,size] of the full-size picture, not clamped.

    The same pixels as painting all and cutting, to rounding: what the features above the last
    whole level read lies within `MARGIN`. Differentiable. StyleGAN2 is painted whole and cut.
    `features`: those of the last whole level (`whole_features`), where they are known already.
    """
    if window.full != generator.out_size:
        raise InputError(f"a window of {window.full} px; this generator has {generator.out_size}")
    if not isinstance(generator, MobileStyleGAN):
        return window.of(generator.synthesis_from_styles(styles))
    level = whole_level(generator)
    x = generator.features(styles, None, level) if features is None else features
    cell = window.full // level
    first = [max(0, start // cell - MARGIN) for start in (window.top, window.left)]
    last = [
        min(level, (start + window.size) // cell + MARGIN) for start in (window.top, window.left)
    ]
    x = x[..., first[0] : last[0], first[1] : last[1]]
    place = (first[0], first[1])
    for i, r in enumerate(generator.levels):
        if r <= level:
            continue
        place = (2 * place[0], 2 * place[1])
        block = generator.blocks[str(r)]
        up, one, two = styles[1 + 3 * i : 4 + 3 * i]
        x = inverse_haar(x * up[:, :, None, None])
        x = _convolved(block.conv1, x, one, place)
        x = _convolved(block.conv2, x, two, place)
    image = generator.to_rgb(x, styles[-1])
    top, left = window.top - first[0] * cell, window.left - first[1] * cell
    return image[..., top : top + window.size, left : left + window.size]


def _convolved(
    layer: SeparableStyledConv, x: Tensor, style: Tensor, place: tuple[int, int]
) -> Tensor:
    """`SeparableStyledConv.forward` on a part of its input whose top left pixel is `place`."""
    y = F.conv2d(x * style[:, :, None, None], layer.depthwise, padding=1, groups=x.shape[1])
    y = F.conv2d(y, layer.pointwise, layer.bias)
    top, left = place
    noise = layer.noise[..., top : top + x.shape[2], left : left + x.shape[3]]
    return F.leaky_relu(y + noise, SLOPE)
