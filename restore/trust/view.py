"""Aligned crops as a small network sees them: the inner face, averaged down, as planes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.geometry.similarity import similarity


def face_view(
    crops: NDArray[np.uint8],
    template: NDArray[np.floating],
    points: NDArray[np.floating],
    shape: tuple[int, int],
) -> NDArray[np.uint8]:
    """uint8 RGB crops [n,s,s,3] -> uint8 RGB views [n,h,w,3] of `shape` (h, w).

    template [5,2]: the landmarks in the crops' pixels; points [5,2]: where they shall lie in the
    view. Large crops are averaged down: sampled on a whole multiple of the pixels, then shrunk by
    area. Raises `InputError` for another shape or dtype.
    """
    crops = np.asarray(crops)
    if crops.ndim != 4 or crops.shape[1] != crops.shape[2] or crops.shape[3] != 3:
        raise InputError(f"faces have shape {list(crops.shape)}; expected square crops [n,s,s,3]")
    if crops.dtype != np.uint8:
        raise InputError(f"faces are {crops.dtype}; expected uint8 RGB crops")
    height, width = shape
    views = np.empty((len(crops), height, width, 3), np.uint8)
    if not len(crops):
        return views
    # view -> crop, in OpenCV pixel coordinates
    matrix = similarity(np.asarray(points, np.float64), np.asarray(template, np.float64))
    fine = max(1, int(np.ceil(np.hypot(matrix[0, 0], matrix[1, 0]) - 0.25)))
    half = (fine - 1) / (2 * fine)  # the centre of a view's pixel among its finer ones
    sampling = np.concatenate(
        [matrix[:, :2] / fine, matrix[:, 2:] - matrix[:, :2].sum(1, keepdims=True) * half], 1
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for i, crop in enumerate(crops):
        large = cv2.warpAffine(
            crop,
            sampling,
            (width * fine, height * fine),
            flags=flags,
            borderMode=cv2.BORDER_REFLECT,
        )
        views[i] = (
            large if fine == 1 else cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
        )
    return views


def to_planes(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 RGB [n,h,w,3] -> float32 [n,3,h,w] in [-1,1]."""
    planes = np.ascontiguousarray(faces.transpose(0, 3, 1, 2), np.float32)
    planes *= 2 / 255
    planes -= 1
    return planes
