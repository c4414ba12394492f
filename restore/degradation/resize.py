"""A batch of pictures of unlike sizes, and resizing each to its own, with OpenCV's filters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.options.degradation import RESIZE_MODES

Size = tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """Pixels `[n,c,H,W]` and the (height, width) of each sample; what lies beyond is undefined."""

    pixels: Tensor
    sizes: tuple[Size, ...]

    @property
    def full(self) -> bool:
        """Whether every sample fills its plane."""
        h, w = self.pixels.shape[-2:]
        return all(size == (h, w) for size in self.sizes)

    def with_pixels(self, pixels: Tensor) -> Canvas:
        """The same sizes over other pixels."""
        return replace(self, pixels=pixels)


def full_canvas(pixels: Tensor) -> Canvas:
    """A canvas whose samples all fill `[n,c,h,w]`."""
    h, w = pixels.shape[-2:]
    return Canvas(pixels, ((h, w),) * pixels.shape[0])


def gather_rows_columns(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`[n,c,H,W]` -> `[n,c,R,C]` by per-sample indices rows `[n,R]` and columns `[n,C]`."""
    n, c, _, w = x.shape
    if n == 1:
        return x[:, :, rows[0]][..., columns[0]]
    x = x.gather(2, rows[:, None, :, None].expand(n, c, rows.shape[1], w))
    return x.gather(3, columns[:, None, None, :].expand(n, c, rows.shape[1], columns.shape[1]))


def reflect_index(length: int, before: int, total: int, device: torch.device) -> Tensor:
    """Indices `[total]` into a line of length, reflect-101, starting `before` samples early.

    OpenCV's BORDER_REFLECT_101: the border pixel is not repeated; reflections repeat as often as
    needed, so a border may be wider than the picture.
    """
    index = torch.arange(-before, total - before, device=device)
    if length == 1:
        return torch.zeros_like(index)
    period = 2 * (length - 1)
    index = index.remainder(period)
    return torch.where(index < length, index, period - index)


def reflect_pad(canvas: Canvas, radius: int) -> Tensor:
    """Pixels `[n,c,H+2r,W+2r]` with each sample's own reflect-101 border around it."""
    height, width = canvas.pixels.shape[-2:]
    device = canvas.pixels.device
    if canvas.full and radius < min(height, width):
        return torch.nn.functional.pad(canvas.pixels, [radius] * 4, mode="reflect")
    rows = [reflect_index(h, radius, height + 2 * radius, device) for h, _ in canvas.sizes]
    columns = [reflect_index(w, radius, width + 2 * radius, device) for _, w in canvas.sizes]
    return gather_rows_columns(canvas.pixels, torch.stack(rows), torch.stack(columns))


def replicate_beyond(canvas: Canvas, height: int, width: int) -> Tensor:
    """Pixels `[n,c,height,width]`: each sample's last row and column go on beyond its size."""
    h0, w0 = canvas.pixels.shape[-2:]
    device = canvas.pixels.device
    if canvas.full:
        if (height, width) == (h0, w0):
            return canvas.pixels
        pad = [0, width - w0, 0, height - h0]
        return torch.nn.functional.pad(canvas.pixels, pad, mode="replicate")
    rows = _clamped(height, [h for h, _ in canvas.sizes], device)
    columns = _clamped(width, [w for _, w in canvas.sizes], device)
    return gather_rows_columns(canvas.pixels, rows, columns)


def _clamped(total: int, lengths: Sequence[int], device: torch.device) -> Tensor:
    last = torch.tensor(lengths, device=device)[:, None] - 1
    return torch.arange(total, device=device)[None].minimum(last)


PIECE = 48
"""Source pixels that the outputs of one small matrix are spread over (measured at 256 and 512 px):
short pieces multiply fewer zeros, long ones cost fewer calls."""


@dataclass(frozen=True)
class Band:
    """A map `[target, source]` that is zero away from its diagonal.

    index int64 `[target, taps]`: the source pixels that an output looks at; weights float64
    `[target, taps]` theirs. A pixel may be there more than once: its weights add up.
    """

    source: int
    index: Tensor
    weights: Tensor

    @property
    def target(self) -> int:
        """How many pixels come out."""
        return self.index.shape[0]

    @property
    def copies(self) -> bool:
        """Whether every output is one source pixel as it is."""
        return self.index.shape[1] == 1 and bool((self.weights == 1).all())

    def pieces(self, like: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Outputs, the sources that they look at, and the matrix between them, piece by piece.

        The matrices have the type of like and lie on its device.
        """
        step = max(1, round(self.target * PIECE / self.source))
        lows, highs = self.index.amin(1).tolist(), self.index.amax(1).tolist()
        weights = self.weights.to(like.dtype)
        for first in range(0, self.target, step):
            out = slice(first, min(first + step, self.target))
            low, high = min(lows[out]), max(highs[out]) + 1
            matrix = weights.new_zeros(out.stop - first, high - low)
            matrix.scatter_add_(1, self.index[out] - low, weights[out])
            yield out, slice(low, high), matrix.to(like.device)

    def dense(self) -> Tensor:
        """Float64 `[target, source]`."""
        matrix = self.weights.new_zeros(self.target, self.source)
        return matrix.scatter_add_(1, self.index, self.weights)


def map_rows(x: Tensor, band: Band) -> Tensor:
    """`[n,c,H,W]` -> `[n,c,target,W]`."""
    if band.copies:
        return x.index_select(2, band.index[:, 0].to(x.device))
    out = x.new_empty(*x.shape[:2], band.target, x.shape[3])
    for target, source, matrix in band.pieces(x):
        out[:, :, target] = matrix @ x[:, :, source]
    return out


def map_columns(x: Tensor, band: Band) -> Tensor:
    """`[n,c,H,W]` -> `[n,c,H,target]`."""
    if band.copies:
        return x.index_select(3, band.index[:, 0].to(x.device))
    out = x.new_empty(*x.shape[:3], band.target)
    for target, source, matrix in band.pieces(x):
        out[..., target] = x[..., source] @ matrix.T
    return out


def apply_matrices(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`[n,c,H,W]` -> `[n,c,R,C]` by a matrix a sample: rows `[n,R,H]` and columns `[n,C,W]`."""
    # the cheaper order first: shrink the side that shrinks more before the other is touched
    h, w = x.shape[-2:]
    r, k = rows.shape[1], columns.shape[1]
    if r * w * (h + k) <= h * k * (w + r):
        return (rows[:, None] @ x) @ columns[:, None].transpose(2, 3)
    return rows[:, None] @ (x @ columns[:, None].transpose(2, 3))


def stack_bands(bands: list[Band], source: int, like: Tensor) -> Tensor:
    """The matrices of bands in one zero-padded `[n, max target, source]`, type and device of like.

    For samples that go through a pass together: a few large products instead of many small ones.
    """
    out = torch.zeros((len(bands), max(b.target for b in bands), source), dtype=like.dtype)
    for matrix, band in zip(out, bands, strict=True):
        matrix[: band.target, : band.source] = band.dense()
    return out.to(like.device, non_blocking=True)


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
