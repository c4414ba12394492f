"""Band: a linear map of a line of pixels that looks at a few neighbours: blur, resize, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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
