"""DegradationTruth: what was done to each sample, and its six numbers; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEGRADATION_NAMES = (
    "log_blur_sigma",
    "log2_scale",
    "noise_sigma",
    "jpeg_quality",
    "gray",
    "damage",
)

MIN_BLUR_SIGMA = 0.1
"""Pixels; a blur below it changes no 8-bit value, and its logarithm would run away."""

NOISE_UNIT = 25.0
"""Noise sigma (0..255 units) per unit of the target."""

JPEG_UNIT = 50.0
"""Quality steps below 100 per unit of the target."""


def target_to_units(target: Any) -> dict[str, Any]:
    """Head output `[n,6]` (numpy array or tensor, order `DEGRADATION_NAMES`) in option-file units.

    Returns `[n]` values under blur_sigma (px at the recipe's reference size), scale (factor >= 0),
    noise_sigma (0..255), jpeg_quality (0..100), gray and damage (0..1). The inverse of
    `DegradationTruth.as_target`, but for sigma below 0.1 px, which comes back as 0.1; values out
    of their domain (a head may say anything) are clipped to it.
    """
    if target.ndim != 2 or target.shape[1] != len(DEGRADATION_NAMES):
        raise ValueError(
            f"found a target of shape {tuple(target.shape)}, expected [n, {len(DEGRADATION_NAMES)}]"
        )
    columns = [target[:, i] for i in range(len(DEGRADATION_NAMES))]
    blur = _exp(columns[0].clip(-4.0, 6.0))
    return {
        "blur_sigma": blur,
        "scale": 2.0 ** columns[1].clip(-3.0, 7.0),
        "noise_sigma": (columns[2] * NOISE_UNIT).clip(0.0, 255.0),
        "jpeg_quality": (100.0 - columns[3] * JPEG_UNIT).clip(0.0, 100.0),
        "gray": columns[4].clip(0.0, 1.0),
        "damage": columns[5].clip(0.0, 1.0),
    }


def _exp(values: Any) -> Any:
    # e ** x works on arrays and tensors alike and keeps their dtype
    return 2.718281828459045**values


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
        import torch

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
