"""The six numbers of a degradation in head units and in option-file units; imports no torch."""

from __future__ import annotations

from typing import Any

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
