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
    return torch.lerp(x, luma(x).expand_as(x), per_sample(amount, x))


def tone(x: Tensor, amount: np.ndarray) -> Tensor:
    """Blend towards a sepia print of the picture's luma by amount `[n]` in [0,1]."""
    y = luma(x)
    rows = np.asarray(SEPIA).sum(1)
    tint = torch.tensor(rows / rows.max(), dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    # the tint belongs to the mid-tones: paper white and full black hold less of it
    sepia = y * (tint + (1 - tint) * y)
    return torch.lerp(x, sepia, per_sample(amount, x))


def fade(x: Tensor, contrast: np.ndarray, black: np.ndarray, saturation: np.ndarray) -> Tensor:
    """Bleached dye: saturation and contrast `[n]` times what they were, blacks lifted to black."""
    y = luma(x)
    x = torch.lerp(y.expand_as(x), x, per_sample(saturation, x))
    return x * per_sample(contrast, x) + per_sample(black, x)


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
    return torch.lerp(_channels(air, x).expand_as(x), x, per_sample(transmission, x))


def adjust_brightness(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_brightness with a factor `[n]`."""
    return (x * per_sample(factor, x)).clamp_(0, 1)


def adjust_contrast(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_contrast: blend with the mean luma of the sample."""
    mean = luma(x).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(x), x, per_sample(factor, x)).clamp_(0, 1)


def adjust_saturation(x: Tensor, factor: np.ndarray) -> Tensor:
    """torchvision's adjust_saturation: blend with the luma of each pixel."""
    return torch.lerp(luma(x).expand_as(x), x, per_sample(factor, x)).clamp_(0, 1)


def adjust_hue(x: Tensor, turn: np.ndarray) -> Tensor:
    """torchvision's adjust_hue: the hue of HSV turned by turn `[n]` in [-0.5, 0.5] of a circle."""
    value, _ = x.max(dim=1, keepdim=True)
    low, _ = x.min(dim=1, keepdim=True)
    chroma = value - low
    safe = chroma.clamp_min(1e-12)
    r, g, b = x[:, :1], x[:, 1:2], x[:, 2:3]
    hue = torch.where(
        value == r,
        (g - b) / safe,
        torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4),
    )
    hue = torch.where(chroma > 0, hue, torch.zeros_like(hue)) + 6 * per_sample(turn, x)
    # Smith (1978) in Malvar's closed form: each channel is the value less a clipped hue distance
    offsets = torch.tensor([5.0, 3.0, 1.0], dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    k = (offsets + hue).remainder(6)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def jitter(x: Tensor, orders: np.ndarray, factors: np.ndarray) -> Tensor:
    """torchvision's ColorJitter for n samples: orders `[n,4]`, a permutation of the four
    adjustments for each sample (brightness, contrast, saturation, hue), factors `[n,4]` theirs.
    """
    out = x.clone()
    for position in range(4):
        for which, adjust in enumerate(_ADJUSTMENTS):
            chosen = np.flatnonzero(orders[:, position] == which)
            if len(chosen):
                index = torch.as_tensor(chosen, device=x.device)
                out[index] = adjust(out[index], factors[chosen, which])
    return out


_ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def _channels(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(values).to(like.dtype).to(like.device)[:, :, None, None]


def _smooth_ramp(length: int, like: Tensor) -> Tensor:
    t = (torch.arange(length, dtype=like.dtype, device=like.device) + 0.5) / length
    return t * t * (3 - 2 * t)
