"""The face template of FFHQ, and similarities between two sets of points; numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError

FFHQ_512: tuple[tuple[float, float], ...] = (
    # facexlib's template for FFHQ crops at 512 px, which the GFPGAN family was trained on
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
"""x, y of left eye, right eye, nose, left and right mouth corner in a 512 px crop."""


def ffhq_template(
    size: int, zoom: float = 1.0, centre: tuple[float, float] = (256.0, 256.0)
) -> NDArray[np.float64]:
    """Five points [5,2] of an aligned crop of size x size pixels, in its pixel coordinates.

    The 512 px template is enlarged by `zoom` about `centre` (512 px units), which moves to the
    middle of the frame; zoom 1 about (256, 256) is the plain FFHQ frame.
    """
    if size < 1 or zoom <= 0:
        raise InputError(f"template of size {size} and zoom {zoom}; expected both above 0")
    points = (np.array(FFHQ_512) - np.array(centre, np.float64)) * zoom + 256
    return (points + 0.5) * (size / 512) - 0.5


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
