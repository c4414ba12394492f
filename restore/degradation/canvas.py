"""Canvas: a batch of pictures of unlike sizes, each in the upper left corner of its plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
