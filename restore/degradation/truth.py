"""DegradationTruth: what was done to each sample of a batch, in option-file units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from restore.degradation.units import JPEG_UNIT, MIN_BLUR_SIGMA, NOISE_UNIT


@dataclass(frozen=True)
class DegradationTruth:
    """Per-sample parameters, each a float32 tensor `[n]`.

    blur_sigma: standard deviation in px at the recipe's reference size, 0 for none; of a motion or
    defocus kernel that of its mass per axis; of a chain the root of the summed squares.
    scale: down-scaling factor, 1 for none. noise_sigma: in 0..255. jpeg_quality: the lowest of
    the chain, 100 for none. gray: 1 if the picture has no colours of its own (gray or toned).
    damage: how strong the drawn damage is, in [0,1].
    """

    blur_sigma: Tensor
    scale: Tensor
    noise_sigma: Tensor
    jpeg_quality: Tensor
    gray: Tensor
    damage: Tensor

    def __len__(self) -> int:
        return self.blur_sigma.shape[0]

    def as_target(self) -> Tensor:
        """`[n,6]` float32, the head's units: order and scaling as `units.DEGRADATION_NAMES`."""
        columns = (
            self.blur_sigma.clamp_min(MIN_BLUR_SIGMA).log(),
            self.scale.log2(),
            self.noise_sigma / NOISE_UNIT,
            (100.0 - self.jpeg_quality) / JPEG_UNIT,
            self.gray,
            self.damage,
        )
        return torch.stack(columns, dim=1)

    def to(self, device: torch.device | str) -> DegradationTruth:
        """The same numbers on another device."""
        return DegradationTruth(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __getitem__(self, index: slice | Tensor | Sequence[int]) -> DegradationTruth:
        """The truth of some samples of the batch."""
        return DegradationTruth(**{f.name: getattr(self, f.name)[index] for f in fields(self)})
