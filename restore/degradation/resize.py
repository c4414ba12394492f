"""Resizing each sample of a canvas to its own size, with OpenCV's filters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.bands import Band, apply_matrices, map_columns, map_rows, stack_bands
from restore.degradation.canvas import Canvas, Size
from restore.options.degradation import RESIZE_MODES

CUBIC_A = -0.75
"""The cubic filter's parameter in OpenCV and torch (Pillow and MATLAB use -0.5)."""


def resize_each(canvas: Canvas, sizes: Sequence[Size], modes: Sequence[str]) -> Canvas:
    """Each sample resized to its (height, width); modes: `RESIZE_MODES`, one a sample.

    As `cv2.resize` with INTER_NEAREST, INTER_LINEAR, INTER_CUBIC, INTER_LANCZOS4, INTER_AREA: pixel
    centres at i + 0.5, border pixels repeated, no anti-aliasing but in `area`. Differentiable.
    """
    sizes = tuple(sizes)
    if sizes == canvas.sizes:
        return canvas
    alike = len(set(sizes)) == 1 and canvas.full and len(set(modes)) == 1
    if alike and modes[0] in ("bilinear", "bicubic"):
        if modes[0] == "bilinear" and canvas.pixels.device.type == "cpu":
            return Canvas(_bilinear(canvas.pixels, sizes[0]), sizes)
        pixels = F.interpolate(canvas.pixels, size=sizes[0], mode=modes[0], align_corners=False)
        return Canvas(pixels, sizes)
    sides = [
        (resize_band(m, s[0], t[0]), resize_band(m, s[1], t[1]))
        for m, s, t in zip(modes, canvas.sizes, sizes, strict=True)
    ]
    rows, columns = [side[0] for side in sides], [side[1] for side in sides]
    return Canvas(apply_sides(canvas, rows, columns), sizes)


def apply_sides(canvas: Canvas, rows: list[Band], columns: list[Band]) -> Tensor:
    """Pixels of a canvas after a map of each sample's height and one of its width."""
    if len(rows) == 1 and canvas.full:
        return map_columns(map_rows(canvas.pixels, rows[0]), columns[0])
    height, width = canvas.pixels.shape[-2:]
    return apply_matrices(
        canvas.pixels,
        stack_bands(rows, height, canvas.pixels),
        stack_bands(columns, width, canvas.pixels),
    )


def _bilinear(x: Tensor, target: Size) -> Tensor:
    """`[n,c,h,w]` -> `[n,c,*target]`: `F.interpolate` in half its time or less, on a CPU.

    A blend of two rows for each, products along the columns, where the rows are few.
    """
    index, weights = resize_taps("bilinear", x.shape[2], target[0])
    columns = resize_band("bilinear", x.shape[3], target[1])
    if target[0] > x.shape[2]:
        x = map_columns(x, columns)
    if index.shape[1] == 2:
        low, high = (x.index_select(2, index[:, tap]) for tap in (0, 1))
        x = torch.lerp(low, high, weights[:, 1:].to(x))
    return x if x.shape[3] == target[1] else map_columns(x, columns)


def resize_matrix(mode: str, source: int, target: int) -> Tensor:
    """Float32 `[target, source]`: a line of source pixels times it is the line of target pixels."""
    return resize_band(mode, source, target).dense().float()


def resize_band(mode: str, source: int, target: int) -> Band:
    """The resize of a line of pixels."""
    return Band(source, *resize_taps(mode, source, target))


def resize_taps(mode: str, source: int, target: int) -> tuple[Tensor, Tensor]:
    """Indices int64 and weights float64, both `[target, taps]`, of the pixels to be summed."""
    if mode not in RESIZE_MODES:
        raise ValueError(f"found resize mode {mode!r}, expected one of {RESIZE_MODES}")
    if source == target:
        return torch.arange(source)[:, None], torch.ones((source, 1), dtype=torch.float64)
    ratio = source / target
    at = torch.arange(target, dtype=torch.float64)
    if mode == "nearest":
        # OpenCV's product with the inverse of the enlargement, not the quotient
        low = (at * (1.0 / (target / source))).floor().long().clamp_max(source - 1)
        return low[:, None], torch.ones((target, 1), dtype=torch.float64)
    if mode == "area" and target < source:
        return _area_taps(at * ratio, (at + 1) * ratio, source)
    if mode == "area":
        # OpenCV's INTER_AREA when it enlarges: nearest pixels with a linear seam between them
        # (its own order of divisions: elsewhere a whole product may round to the pixel before)
        enlargement = target / source
        low = (at * (1.0 / enlargement)).floor()
        fraction = (at + 1) - (low + 1) * enlargement
        fraction = torch.where(fraction <= 0, torch.zeros_like(at), fraction - fraction.floor())
        weights, first = torch.stack([1 - fraction, fraction], 1), 0
    else:
        centre = (at + 0.5) * ratio - 0.5
        low = centre.floor()
        t = centre - low
        if mode == "bilinear":
            weights, first = torch.stack([1 - t, t], 1), 0
        elif mode == "lanczos":
            weights, first = _lanczos_weights(t), -3
        else:
            weights, first = _cubic_weights(t), -1
    taps = torch.arange(first, first + weights.shape[1])
    return (low.long()[:, None] + taps).clamp(0, source - 1), weights


def _cubic_weights(t: Tensor) -> Tensor:
    # Keys (1981), as in cv2's interpolateCubic
    a = CUBIC_A
    w0 = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    w1 = ((a + 2) * t - (a + 3)) * t * t + 1
    w2 = ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1
    return torch.stack([w0, w1, w2, 1 - w0 - w1 - w2], 1)


def _lanczos_weights(t: Tensor) -> Tensor:
    # sinc(d) sinc(d / 4) at the eight nearest pixels, made to add up to one (INTER_LANCZOS4)
    distance = t[:, None] + 3 - torch.arange(8)
    weights = torch.sinc(distance) * torch.sinc(distance / 4)
    return weights / weights.sum(1, keepdim=True)


def _area_taps(low: Tensor, high: Tensor, source: int) -> tuple[Tensor, Tensor]:
    """Pixels by how much of them lies between low and high, both `[target]`."""
    pixels = low.floor()[:, None] + torch.arange(math.ceil(source / low.shape[0]) + 1)
    overlap = high[:, None].minimum(pixels + 1) - low[:, None].maximum(pixels)
    overlap = overlap.clamp_min(0) * (pixels < source)
    return pixels.long().clamp_max(source - 1), overlap / overlap.sum(1, keepdim=True)
