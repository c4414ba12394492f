"""Least-squares similarity of two sets of points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError


def similarity(
    src: NDArray[np.floating],
    dst: NDArray[np.floating],
    weights: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """Least-squares similarity [2,3] (rotation, scale, shift; no mirror) of src [n,2] to dst [n,2].

    weights: [n] at least 0, of the squared distances; equal when None. Source: Umeyama,
    "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991,
    eq. 40-43. Raises InputError where the points do not determine one: not finite, all on one spot,
    or unrelated to the target.
    """
    source, target = np.asarray(src, np.float64), np.asarray(dst, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise InputError(
            f"points of shapes {source.shape} and {target.shape} cannot be matched; "
            "expected two equal shapes [n,2] with n >= 2"
        )
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise InputError("landmarks are not finite; expected numbers, so leave this face out")
    share = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    share = (share / share.sum())[:, None]
    source_mean, target_mean = (share * source).sum(0), (share * target).sum(0)
    from_mean, to_mean = source - source_mean, target - target_mean
    spread = float((share * from_mean**2).sum())
    left, strengths, right = np.linalg.svd((share * to_mean).T @ from_mean)
    sign = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    # Both are squared lengths: landmarks within about a hundredth of a pixel are one spot.
    reach = float((strengths * sign).sum())
    if spread < 1e-4 or reach < 1e-6 * np.sqrt(
        spread * max(float((share * to_mean**2).sum()), 1e-12)
    ):
        raise InputError(
            f"landmarks are degenerate (spread {np.sqrt(spread):.3g} px); expected five separate "
            "points of a face, so leave this face out"
        )
    linear = (reach / spread) * (left @ np.diag(sign) @ right)
    return np.concatenate([linear, (target_mean - linear @ source_mean)[:, None]], axis=1)
