"""Similarity warps of images: anti-aliased when they shrink, reading only what they need."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError

Image = NDArray[Any]
Matrix = NDArray[np.float64]

BORDERS = {
    # symmetric about the pixel's edge, not its centre: the same picture at every scale
    "reflect": cv2.BORDER_REFLECT,
    "replicate": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
}
"""Names of what lies beyond the frame; "constant" is 0 or the given value."""

_LINEAR_ABOVE = 1.5  # enlargement from which bilinear is used, as degradation recipes enlarge
_REFLECT_LIMIT = 30000  # cv2.warpAffine addresses its source with 16-bit integers


def matrix_scale(matrix: NDArray[np.floating]) -> float:
    """Enlargement factor of a similarity [2,3]."""
    return math.sqrt(abs(float(np.linalg.det(np.asarray(matrix, np.float64)[:, :2]))))


def invert(matrix: NDArray[np.floating]) -> Matrix:
    """Inverse of an affine map [2,3] as [2,3] float64."""
    matrix = np.asarray(matrix, np.float64)
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -(linear @ matrix[:, 2:])], axis=1)


def compose(outer: NDArray[np.floating], inner: NDArray[np.floating]) -> Matrix:
    """The affine map x -> outer(inner(x)), all [2,3]."""
    outer, inner = np.asarray(outer, np.float64), np.asarray(inner, np.float64)
    linear = outer[:, :2] @ inner[:, :2]
    return np.concatenate([linear, outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], axis=1)


def resized(scale_x: float, scale_y: float) -> Matrix:
    """The map [2,3] of pixel coordinates under a resize: (x + 0.5) * scale - 0.5."""
    return np.array([[scale_x, 0, scale_x / 2 - 0.5], [0, scale_y, scale_y / 2 - 0.5]])


def shifted(dx: float, dy: float) -> Matrix:
    """The map [2,3] that adds (dx, dy)."""
    return np.array([[1.0, 0, dx], [0, 1.0, dy]])


def warp(
    image: Image,
    matrix: NDArray[np.floating],
    width: int,
    height: int,
    border: str = "reflect",
    value: float | tuple[float, ...] = 0.0,
) -> Image:
    """The image under a similarity, sampled on a grid of width x height pixels.

    image: [h,w] or [h,w,c], uint8, uint16 or float32; the result has its dtype and channels.
    matrix: [2,3], image -> grid, in OpenCV pixel coordinates.
    Where the map shrinks, the source is reduced by area averages and the rest is supersampled, so
    each grid pixel averages its own footprint. Only the source pixels below the grid (and those
    that a reflected border shows) are read.
    """
    if border not in BORDERS:
        raise InputError(f"border {border!r} is unknown; expected one of {', '.join(BORDERS)}")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(f"an image of shape {image.shape} cannot be warped; expected [h,w,c]")
    shrink = 1 / max(matrix_scale(matrix), 1e-9)
    x0, y0, x1, y1 = _source_region(image.shape[:2], matrix, width, height, shrink, border)
    region = image[y0:y1, x0:x1]
    to_grid = compose(matrix, shifted(x0, y0))
    reduction = max(math.floor(shrink / 2), math.ceil(max(region.shape[:2]) / _REFLECT_LIMIT), 1)
    if reduction > 1:
        h, w = region.shape[:2]
        new_w, new_h = max(round(w / reduction), 1), max(round(h / reduction), 1)
        region = cv2.resize(region, (new_w, new_h), interpolation=cv2.INTER_AREA)
        to_grid = compose(to_grid, invert(resized(new_w / w, new_h / h)))
    samples = max(math.ceil(shrink / reduction - 1e-6), 1)
    if samples > 1:
        to_grid = compose(resized(samples, samples), to_grid)
    if border == "reflect":
        region, to_grid = _reflected(region, to_grid, width * samples, height * samples)
    linear = 1 / shrink > _LINEAR_ABOVE
    fill = value if isinstance(value, tuple) else (value,) * 4
    out = cv2.warpAffine(
        np.ascontiguousarray(region),
        to_grid,
        (width * samples, height * samples),
        flags=cv2.INTER_LINEAR if linear else cv2.INTER_CUBIC,
        borderMode=BORDERS[border],
        borderValue=fill,
    )
    if samples > 1:
        out = cv2.resize(out, (width, height), interpolation=cv2.INTER_AREA)
    return out.reshape(height, width, *image.shape[2:])


def grid_bounds(matrix: NDArray[np.floating], width: int, height: int) -> tuple[float, ...]:
    """x0 y0 x1 y1 of a grid's pixel area seen from the source; matrix [2,3] is source -> grid."""
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5]])
    corners = np.concatenate([corners, [[width - 0.5, height - 0.5]]])
    back = invert(matrix)
    points = corners @ back[:, :2].T + back[:, 2]
    return (*points.min(0).tolist(), *points.max(0).tolist())


def _reflected(region: Image, matrix: Matrix, width: int, height: int) -> tuple[Image, Matrix]:
    """The region with its reflection as far as the grid sees it.

    OpenCV 5's cubic warp reflects once and gives 0 beyond: measured on 5.0.0.
    """
    low_x, low_y, high_x, high_y = grid_bounds(matrix, width, height)
    h, w = region.shape[:2]
    left, top = max(math.ceil(4 - low_x), 0), max(math.ceil(4 - low_y), 0)
    right, bottom = max(math.ceil(high_x + 5 - w), 0), max(math.ceil(high_y + 5 - h), 0)
    if not (left or top or right or bottom):
        return region, matrix
    out = cv2.copyMakeBorder(region, top, bottom, left, right, cv2.BORDER_REFLECT)
    return out, compose(matrix, shifted(-left, -top))


def _source_region(
    shape: tuple[int, ...],
    matrix: NDArray[np.floating],
    width: int,
    height: int,
    shrink: float,
    border: str,
) -> tuple[int, int, int, int]:
    margin = 3 + math.ceil(2 * max(shrink, 1.0))
    low_x, low_y, high_x, high_y = grid_bounds(matrix, width, height)
    x0, x1 = _extent(low_x - margin, high_x + margin, shape[1], border)
    y0, y1 = _extent(low_y - margin, high_y + margin, shape[0], border)
    return x0, y0, x1, y1


def _extent(low: float, high: float, length: int, border: str) -> tuple[int, int]:
    """The pixels of one axis that are read for the span low..high, at least one."""
    first, last = math.floor(low), math.ceil(high)
    start, stop = first, last + 1
    if border == "reflect":
        if first < 0:
            stop = max(stop, -first)
        if last >= length:
            start = min(start, 2 * length - 1 - last)
    start = min(max(start, 0), length - 1)
    return start, max(min(stop, length), start + 1)
