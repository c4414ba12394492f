"""Resizing each sample of a canvas to its own size, with OpenCV's filters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.canvas import Canvas, Size

RESIZE_MODES = ("bilinear", "bicubic", "area")

CUBIC_A = -0.75
"""The cubic filter's parameter in OpenCV and torch (Pillow and MATLAB use -0.5)."""


def resize_each(canvas: Canvas, sizes: Sequence[Size], modes: Sequence[str]) -> Canvas:
    """Each sample resized to its (height, width); modes: `RESIZE_MODES`, one a sample.

    As `cv2.resize` with INTER_LINEAR, INTER_CUBIC, INTER_AREA: pixel centres at i + 0.5, border
    pixels repeated, no anti-aliasing but in `area`. Differentiable.
    """
    sizes = tuple(sizes)
    if sizes == canvas.sizes:
        return canvas
    if len(set(sizes)) == 1 and canvas.full and len(set(modes)) == 1 and modes[0] != "area":
        pixels = F.interpolate(canvas.pixels, size=sizes[0], mode=modes[0], align_corners=False)
        return Canvas(pixels, sizes)
    height, width = canvas.pixels.shape[-2:]
    sources = canvas.sizes
    rows = stack_matrices(
        [resize_matrix(m, s[0], t[0]) for m, s, t in zip(modes, sources, sizes, strict=True)],
        height,
        canvas.pixels,
    )
    columns = stack_matrices(
        [resize_matrix(m, s[1], t[1]) for m, s, t in zip(modes, sources, sizes, strict=True)],
        width,
        canvas.pixels,
    )
    return Canvas(apply_matrices(canvas.pixels, rows, columns), sizes)


def apply_matrices(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`[n,c,H,W]` -> `[n,c,R,C]` by matrices: rows `[n,R,H]` and columns `[n,C,W]`."""
    # the cheaper order first: shrink the side that shrinks more before the other is touched
    h, w = x.shape[-2:]
    r, k = rows.shape[1], columns.shape[1]
    if r * w * (h + k) <= h * k * (w + r):
        return (rows[:, None] @ x) @ columns[:, None].transpose(2, 3)
    return rows[:, None] @ (x @ columns[:, None].transpose(2, 3))


def stack_matrices(matrices: Sequence[Tensor], source: int, like: Tensor) -> Tensor:
    """Matrices `[t_i, s_i]` in one zero-padded `[n, max t, source]` on the device of like."""
    if len(matrices) == 1 and matrices[0].shape[1] == source:
        return matrices[0][None].to(like)
    target = max(m.shape[0] for m in matrices)
    out = torch.zeros((len(matrices), target, source), dtype=matrices[0].dtype)
    for i, m in enumerate(matrices):
        out[i, : m.shape[0], : m.shape[1]] = m
    return out.to(like.dtype).to(like.device, non_blocking=True)


def resize_matrix(mode: str, source: int, target: int) -> Tensor:
    """Float32 `[target, source]`: a line of source pixels times it is the line of target pixels."""
    return resize_lines(torch.eye(source), mode, target)


def resize_lines(x: Tensor, mode: str, target: int) -> Tensor:
    """`[source, m]` -> `[target, m]`: resized along the first axis."""
    if mode not in RESIZE_MODES:
        raise ValueError(f"found resize mode {mode!r}, expected one of {RESIZE_MODES}")
    source = x.shape[0]
    if source == target:
        return x
    if mode == "area" and target < source:
        return _area_matrix(source, target).to(x) @ x
    index, weights = resize_taps(mode, source, target)
    weights = weights.to(x)
    out = x[index[:, 0]] * weights[:, :1]
    for tap in range(1, index.shape[1]):
        out.addcmul_(x[index[:, tap]], weights[:, tap : tap + 1])
    return out


def resize_taps(mode: str, source: int, target: int) -> tuple[Tensor, Tensor]:
    """Indices int64 and weights float64, both `[target, taps]`, of the source pixels to be summed.

    Not for area when it shrinks, whose taps are many.
    """
    ratio = source / target
    at = torch.arange(target, dtype=torch.float64)
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


def _area_matrix(source: int, target: int) -> Tensor:
    edges = torch.arange(target + 1, dtype=torch.float64) * (source / target)
    pixels = torch.arange(source, dtype=torch.float64)[None]
    low, high = edges[:-1, None], edges[1:, None]
    overlap = (high.minimum(pixels + 1) - low.maximum(pixels)).clamp_min(0)
    return overlap / overlap.sum(1, keepdim=True)
