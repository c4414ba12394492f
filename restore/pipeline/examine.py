"""What is seen on a face before it is restored: pose, pixel quality, how much of it is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from restore.errors import RestoreError
from restore.pipeline.results import RestoredFace
from restore.trust.verdict import Evidence

_SMALLEST = 48  # px of the side that quality is measured on at least
_GRID = 32  # points along each side at which the frame is asked for


def examine(
    face: RestoredFace, rgb: NDArray[np.uint8], template: NDArray[np.float64]
) -> RestoredFace:
    """An aligned face with yaw, cover and quality; rgb: the photo [h,w,3] of its matrix."""
    from restore.faces.pose import head_pose
    from restore.faces.quality import face_quality
    from restore.faces.warp import compose, resized, warp
    from restore.trust.cover import packaged_cover_detector

    assert face.crop is not None
    assert face.matrix is not None
    size = face.crop.shape[0]
    side = measured_side(face)
    crop = face.crop
    if side != size:
        # Enlarged pixels look blurred and clean: smaller faces are measured at their own scale.
        matrix = compose(resized(side / size, side / size), face.matrix)
        crop = np.asarray(warp(rgb, matrix, side, side), np.uint8)
    points = (template + 0.5) * (side / size) - 0.5
    try:
        yaw = head_pose(face.landmarks).yaw
    except RestoreError:
        yaw = None
    detector = packaged_cover_detector()
    covered = None if detector is None else detector.covered(face.crop, template)
    return replace(face, yaw=yaw, covered=covered, quality=face_quality(crop, points))


def native_side(face: RestoredFace) -> float:
    """px of the photo along the side of the face's crop."""
    from restore.faces.warp import matrix_scale

    assert face.crop is not None
    assert face.matrix is not None
    return face.crop.shape[0] / max(matrix_scale(face.matrix), 1e-9)


def measured_side(face: RestoredFace) -> int:
    """Side in px of the crop that quality is measured on: the face's own, or the network's."""
    assert face.crop is not None
    return int(min(max(round(native_side(face)), _SMALLEST), face.crop.shape[0]))


def evidence(
    face: RestoredFace,
    photo_size: tuple[int, int],
    template: NDArray[np.float64],
    enlarged: float = 1.0,
) -> Evidence:
    """Everything that the verdict on an examined face stands on; photo_size: width, height.

    enlarged: how many times larger than in the photo the face will be shown.
    """
    assert face.quality is not None
    assert face.crop is not None
    return Evidence(
        face.eye_distance,
        measured_side(face),
        face.quality.blur,
        face.quality.noise,
        face.quality.blocks,
        face.yaw or 0.0,
        share_in_frame(face, photo_size, template),
        covered=face.covered or 0.0,
        degradation=face.degradation,
        enlarged=enlarged,
        magnified=face.crop.shape[0] / native_side(face),
    )


def share_in_frame(
    face: RestoredFace, photo_size: tuple[int, int], template: NDArray[np.float64]
) -> float:
    """Share of the face, by its mask, that lies within a photo of width x height."""
    from restore.faces.mask import face_mask
    from restore.faces.warp import invert

    assert face.crop is not None
    assert face.matrix is not None
    step = face.crop.shape[0] / _GRID
    mask = face_mask(_GRID, (template + 0.5) / step - 0.5) > 0.5
    rows, columns = np.nonzero(mask)
    points = (np.stack([columns, rows], axis=1) + 0.5) * step - 0.5
    back = invert(face.matrix)
    x, y = (points @ back[:, :2].T + back[:, 2]).T
    width, height = photo_size
    inside = (x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5)
    return float(inside.mean()) if len(inside) else 1.0
