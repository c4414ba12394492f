"""The automatic fidelity: how far the photo is to be trusted, by its estimated degradation."""

from __future__ import annotations

from collections.abc import Mapping

FULL_BELOW, LEAST_ABOVE, LEAST = 5.0, 12.0, 0.6
"""Loss up to which fidelity is 1, loss from which on it is LEAST, and LEAST.

Measured by `python -m restore.benchmarks trust --parts fidelity` (docs/trust.md); another model may
want another curve.
"""


def auto_fidelity(degradation: Mapping[str, float] | None) -> float:
    """Fidelity in [0,1] of a face by its estimate (units of `restore.degradation.units`).

    The loss is the larger of blur sigma (px of 512) and down-scaling: px of the crop that have run
    into one. Up to FULL_BELOW the photo holds the face and leads; towards LEAST_ABOVE there is less
    to be faithful to, and the prior paints more; in between the line is straight in log(loss).
    Without an estimate it is 1.
    """
    if degradation is None:
        return 1.0
    from math import log

    loss = max(degradation.get("blur_sigma", 0.0), degradation.get("scale", 1.0))
    if loss <= FULL_BELOW:
        return 1.0
    share = min(log(loss / FULL_BELOW) / log(LEAST_ABOVE / FULL_BELOW), 1.0)
    return 1.0 - share * (1.0 - LEAST)
