"""Batch: crops and what is known of them, stacked as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restore.data.face_dataset import FaceSample


@dataclass(frozen=True, eq=False)
class Batch:
    """n crops. gt: uint8 RGB [n,3,s,s]; mask: uint8 [n,1,s,s], 1 where the photo is;
    landmarks [n,5,2] and parts [n,3,4] float32, OpenCV pixels of gt; indices [n] int64;
    lq: uint8 RGB [n,3,s,s] of pairs, else None. position: place of the *global* batch's first crop
    in the sampler's order: with the seed it fixes all that is random in this step.
    """

    gt: Tensor
    mask: Tensor
    landmarks: Tensor
    parts: Tensor
    indices: Tensor
    keys: tuple[str, ...]
    sources: tuple[str, ...]
    position: int = 0
    lq: Tensor | None = None

    def __len__(self) -> int:
        return len(self.gt)

    def to(self, device: torch.device | str) -> Batch:
        """On a device; copies from pinned memory do not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """In pinned memory; loaders call it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            k: change(v) if isinstance(v, Tensor) else v for k, v in values.items()
        }
        return Batch(**moved)


def collate(samples: Sequence[FaceSample]) -> Batch:
    """Samples of one size as a batch."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))

    return Batch(
        gt=stacked("gt"),
        mask=stacked("mask"),
        landmarks=stacked("landmarks"),
        parts=stacked("parts"),
        indices=torch.tensor([sample.index for sample in samples]),
        keys=tuple(sample.key for sample in samples),
        sources=tuple(sample.source for sample in samples),
        lq=None if samples[0].lq is None else stacked("lq"),
    )
