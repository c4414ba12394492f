"""Photo to crop and back: warping, alignment to the template, the face's soft mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.geometry import FFHQ_512, similarity

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


Mask = NDArray[np.float32]

# The head in the FFHQ frame at 512 px: where the mask is 1 and where it has come down to 0, from
# the point (256, 290) between the features. Chin tips lie near y = 455, ears near x = 100 and 412,
# the hair above y = 120: the transition begins below it, so that curls fade from restored to photo
# and hats stay the photo's.
_CENTRE = (256.0, 290.0)
_SIDE = (142.0, 234.0)
_UP = (150.0, 270.0)
_DOWN = (172.0, 216.0)
_POWER = 2.3  # superellipse: a little squarer than an ellipse, to hold jaw corners and temples
_BORDER = 1 / 10  # share of the crop's side over which the mask comes down to its border


def face_mask(size: int, landmarks: NDArray[np.floating] | None = None) -> Mask:
    """Soft mask [size,size] float32 in 0..1 of the face and the start of the hair; 0 on the border.

    landmarks: [5,2] in crop pixels, or None for the plain FFHQ template. Give the template that the
    crop was aligned to, or the face's own landmarks in the crop.
    """
    if size < 1:
        raise InputError(f"mask of size {size}; expected at least 1")
    frame = np.array(FFHQ_512)
    points = (frame + 0.5) * (size / 512) - 0.5 if landmarks is None else np.asarray(landmarks)
    back = invert(similarity(frame, points))
    steps = np.arange(size, dtype=np.float64)
    x = back[0, 0] * steps[None, :] + back[0, 1] * steps[:, None] + back[0, 2] - _CENTRE[0]
    y = back[1, 0] * steps[None, :] + back[1, 1] * steps[:, None] + back[1, 2] - _CENTRE[1]
    inner = _radius(x, y, 0)
    outer = _radius(x, y, 1)
    # inner = 1 on the inner curve, outer = 1 on the outer one: t runs 0..1 between them.
    t = np.clip((inner - 1) / np.maximum(inner - outer, 1e-9), 0, 1)
    mask = 1 - t * t * (3 - 2 * t)
    return (mask * border_window(size)).astype(np.float32)


def border_window(size: int, width: float = _BORDER) -> Mask:
    """[size,size] float32: 1 inside, smoothly to exactly 0 on the outermost pixels.

    width: share of the side over which it comes down.
    """
    edge = np.minimum(np.arange(size), np.arange(size)[::-1]) / max(width * size, 1.0)
    t = np.clip(edge, 0, 1)
    ramp = t * t * (3 - 2 * t)
    return np.outer(ramp, ramp).astype(np.float32)


def _radius(x: NDArray[np.float64], y: NDArray[np.float64], which: int) -> NDArray[np.float64]:
    vertical = np.where(y < 0, -y / _UP[which], y / _DOWN[which])
    powers: NDArray[np.float64] = np.abs(x / _SIDE[which]) ** _POWER + vertical**_POWER
    return powers ** (1 / _POWER)


LANDMARK_WEIGHTS = (1.0, 1.0, 0.25, 1.0, 1.0)
"""Weights of the five points in `align_face`.

The nose's tip leaves the face's plane: a turned head moves it by a tenth of the crop, and FFHQ
itself was aligned by eyes and mouth. On faces of the prior 0.25 lowers the median alignment error
from 5.9 to 5.1 px, on real crops it changes nothing (docs/detection.md).
"""

GRAY = (135.0, 133.0, 132.0)
"""RGB 0..255 of border="constant", close to what the GFPGAN family pads with."""


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A crop [size,size,c] in the photo's dtype, and the similarity [2,3] photo -> crop."""

    crop: Image
    matrix: Matrix


def align_face(
    image: Image,
    landmarks: NDArray[np.floating],
    template: NDArray[np.floating],
    size: int,
    border: str = "reflect",
) -> AlignedFace:
    """The face's crop [size,size,c], turned and scaled so that its landmarks lie on the template.

    image: [h,w,c] or [h,w], uint8, uint16 or float32 (float32 in 0..1); only the face's region is
    read. landmarks, template: [5,2] in pixels of the photo and of the crop, fitted by least squares
    with LANDMARK_WEIGHTS. A face larger than the
    crop is averaged down without aliasing. border: "reflect", "replicate" or "constant" (gray).
    Raises InputError for degenerate landmarks.
    """
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(
            f"an image of {image.dtype} cannot be aligned; give uint8, uint16, float32"
        )
    matrix = similarity(landmarks, template, LANDMARK_WEIGHTS)
    unit = {"uint8": 1.0, "uint16": 257.0, "float32": 1 / 255}[image.dtype.name]
    fill = (*(channel * unit for channel in GRAY), 0.0)
    crop = warp(image, matrix, size, size, border, fill)
    return AlignedFace(crop, matrix)


def scale_matrix(matrix: NDArray[np.floating], scale: float | tuple[float, float]) -> Matrix:
    """The map canvas -> crop [2,3] where the canvas is the photo resized by `scale` (x, y).

    A pixel of the photo lies at (x + 0.5) * scale - 0.5 of the canvas.
    """
    scale_x, scale_y = scale if isinstance(scale, tuple) else (scale, scale)
    return compose(matrix, resized(1 / scale_x, 1 / scale_y))
