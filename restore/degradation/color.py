"""Colour changes of each sample: shift, jitter, gray, sepia, fading, cast, exposure, haze."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from restore.degradation.noise import luma, per_sample

SEPIA = (
    (0.393, 0.769, 0.189),
    (0.349, 0.686, 0.168),
    (0.272, 0.534, 0.131),
)
"""The customary sepia matrix (RGB rows), scaled below so that white stays white."""


def shift_colors(x: Tensor, shift: np.ndarray) -> Tensor:
    """`[n,3,h,w]` in [0,1] plus shift `[n,3]` in 0..1 units, clamped (GFPGAN's color_jitter)."""
    return (x + _channels(shift, x)).clamp_(0, 1)


def to_gray(x: Tensor, amount: np.ndarray) -> Tensor:
    """Blend towards BT.601 luma by amount `[n]` in [0,1]."""
    return _blend(x, luma(x), 1 - amount)


def tone(x: Tensor, amount: np.ndarray) -> Tensor:
    """Blend towards a sepia print of the picture's luma by amount `[n]` in [0,1]."""
    y = luma(x)
    rows = np.asarray(SEPIA).sum(1)
    tint = torch.tensor(rows / rows.max(), dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    # the tint belongs to the mid-tones: paper white and full black hold less of it
    sepia = y * (tint + (1 - tint) * y)
    return _blend(x, sepia, 1 - amount)


def fade(x: Tensor, contrast: np.ndarray, black: np.ndarray, saturation: np.ndarray) -> Tensor:
    """Bleached dye: saturation and contrast `[n]` times what they were, blacks lifted to black."""
    y = luma(x)
    x = _blend(x, y, saturation)
    return x.mul_(per_sample(contrast, x)).add_(per_sample(black, x))


def cast(x: Tensor, gains: np.ndarray) -> Tensor:
    """Each channel to the power of its gain `[n,3]`: a dye layer that lost density, or gained it.

    A power leaves black and white where they are, as a cast of ageing dyes mostly does.
    """
    return x.clamp(0, 1).clamp_min(1e-4).pow(_channels(gains, x))


def uneven_exposure(x: Tensor, strength: np.ndarray, corners: np.ndarray) -> Tensor:
    """Brightness times a smooth field through four corner values `[n,4]` in [-1,1].

    2^(strength * field): strength `[n]` in stops. The field is bilinear with smoothed ends.
    """
    n, _, h, w = x.shape
    rows, columns = _smooth_ramp(h, x), _smooth_ramp(w, x)
    c = torch.as_tensor(corners).to(x.dtype).to(x.device)
    top = torch.lerp(c[:, 0:1], c[:, 1:2], columns[None])
    bottom = torch.lerp(c[:, 2:3], c[:, 3:4], columns[None])
    field = torch.lerp(top[:, None, :], bottom[:, None, :], rows[None, :, None])
    stops = field.view(n, 1, h, w) * per_sample(strength, x)
    return x * torch.exp2(stops)


def haze(x: Tensor, transmission: np.ndarray, air: np.ndarray) -> Tensor:
    """Koschmieder's law: x t + a (1 - t), transmission t `[n]`, air light a `[n,3]`."""
    return _blend(x, _channels(air, x), transmission)


def adjust_brightness(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_brightness with a factor `[n]`."""
    return (x * per_sample(factor, x)).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_contrast: blend with the mean luma of the sample."""
    # luma is linear: that of the mean colour is the mean of the pixels' luma
    mean = luma(x.mean(dim=(2, 3), keepdim=True))
    return _blend(x, mean, factor).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_saturation: blend with the luma of each pixel."""
    return _blend(x, luma(x), factor).clamp_(0, 1)


def adjust_hue(x: Tensor, turn: np.ndarray) -> Tensor:
    """torchvision's adjust_hue: the hue of HSV turned by turn `[n]` in [-0.5, 0.5] of a circle."""
    r, g, b = x[:, :1], x[:, 1:2], x[:, 2:3]
    value = torch.maximum(r, g).maximum(b)
    low = torch.minimum(r, g).minimum(b)
    chroma = value - low
    # in sixths of the circle, from the two channels that are not the largest; 0 for gray
    hue = torch.where(
        value == r,
        g - b,
        torch.where(value == g, (b - r).add_(chroma, alpha=2), (r - g).add_(chroma, alpha=4)),
    )
    hue = hue.div_(chroma.clamp_min(1e-12)).add_(per_sample(6 * turn, x))
    hue.sub_(hue.div(6).floor_(), alpha=6)
    # Smith (1978): how far each channel stands above the lowest, by the distance of the hue
    heights = (
        (hue - 3).abs_().sub_(1),
        (hue - 2).abs_().neg_().add_(2),
        (hue - 4).abs_().neg_().add_(2),
    )
    return torch.cat(heights, 1).clamp_(0, 1).mul_(chroma).add_(low)


def jitter(x: Tensor, orders: np.ndarray, factors: np.ndarray) -> Tensor:
    """torchvision's ColorJitter for n samples: orders `[n,4]`, a permutation of the four
    adjustments for each sample (brightness, contrast, saturation, hue), factors `[n,4]` theirs.
    """
    if len(orders) == 1:
        for which in orders[0]:
            x = _ADJUSTMENTS[which](x, factors[:, which])
        return x
    out = x.clone()
    for position in range(4):
        for which, adjust in enumerate(_ADJUSTMENTS):
            chosen = np.flatnonzero(orders[:, position] == which)
            if len(chosen):
                index = torch.as_tensor(chosen, device=x.device)
                out[index] = adjust(out[index], factors[chosen, which])
    return out


_ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def _blend(x: Tensor, other: Tensor, amount: np.ndarray) -> Tensor:
    """x where amount `[n]` is 1, other where it is 0; other may have one channel, or one pixel."""
    weight = per_sample(amount, x)
    return (x * weight).add_(other * (1 - weight))


def _channels(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(values).to(like.dtype).to(like.device)[:, :, None, None]


def _smooth_ramp(length: int, like: Tensor) -> Tensor:
    t = (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) / length
    return t * t * (3 - 2 * t)
