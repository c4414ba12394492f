"""What every metric is: an additive state per batch, and one number from the summed state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Metric(Protocol):
    """A measure whose states add up over batches and over ranks.

    `measure(restored, gt, mask)` takes [n,3,h,w] RGB in [-1,1], already rounded to 8 bit, and a
    mask [n,1,h,w] or None; it returns a flat float64 state. `finish(sum of states)` is the value;
    NaN when nothing was measured.
    """

    def measure(self, restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor: ...

    def finish(self, state: Tensor) -> float: ...


@dataclass(frozen=True)
class MeanMetric:
    """The mean over images of `per_image(restored, gt, mask) -> [n]`; NaN of an image: left out.

    A function returns NaN where an image cannot be measured (a mask without room, no face).
    """

    per_image: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def measure(self, restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        values = self.per_image(restored, gt, mask).double()
        known = ~torch.isnan(values)
        return torch.stack((values[known].sum(), known.sum().double()))

    def finish(self, state: Tensor) -> float:
        return float(state[0] / state[1]) if state[1] > 0 else float("nan")


def rounded_to_bytes(image: Tensor) -> Tensor:
    """[-1,1] images clamped and rounded to what an 8-bit file would hold, still in [-1,1]."""
    return (image.float().clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1
