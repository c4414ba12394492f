"""How good a face is already, and how its head is turned; measured without a network."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.align import face_mask
from restore.faces.colour import LUMA

_FINE, _COARSE = 0.7, 2.0  # sigmas in px of the two gradients that an edge is measured by
_EDGES = 0.03  # share of the face's pixels that count as its edges: lids, pupils, lips, hair line
_GRID = 8  # px of JPEG's blocks
_STEEPEST = 30.0  # steps are cut here, so that a few edges of the face do not drown the blocks
_FLAT = 0.5  # share of the face's pixels that count as flat: cheeks, forehead


@dataclass(frozen=True)
class FaceQuality:
    """Blur, noise and blocks are measured on the luma of an aligned crop, within the face.

    blur: sigma in px of the Gaussian that its strongest edges look blurred by. noise: standard
    deviation (0..255) of what is no structure in flat parts, skin texture included; the larger of
    two scales, so that noise that was enlarged with its photo counts. blocks: how much steeper the
    steps across a grid of 8 px are than the others, 0 none. looks and colour_noise are measured on
    the photo's own pixels, before they are turned or scaled: the logarithm of the odds that these
    are damaged (`restore.faces.looks`), below 0 for clean ones, None where that was not measured;
    and the noise of the colours, 0..255.
    """

    blur: float
    noise: float
    blocks: float
    looks: float | None = None
    colour_noise: float = 0.0


def face_quality(
    crop: NDArray[np.uint8], template: NDArray[np.floating] | None = None
) -> FaceQuality:
    """Measure an aligned crop, RGB uint8 [s,s,3]; template: [5,2] its landmarks (default FFHQ).

    Give it at the photo's own scale where the face is smaller than the network's crop: enlarged
    pixels look blurred. Blur after Zhuo and Sim, "Defocus map estimation from a single image",
    Pattern Recognition 2011, eq. 6; noise after Immerkaer, "Fast noise variance estimation",
    CVIU 1996, over the flat half of the face and by the median, which edges do not move.
    """
    inside = face_mask(crop.shape[0], template) > 0.5
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        raise InputError(f"a crop {crop.shape} holds no face; expected one of 16 px or more")
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    luma = np.ascontiguousarray(crop[box].astype(np.float32) @ LUMA)
    inside = inside[box]
    fine, coarse = _gradient(luma, _FINE), _gradient(luma, _COARSE)
    flat = inside & (coarse <= np.quantile(coarse[inside], _FLAT))
    noise = max(_noise(luma, flat), _noise(*_halved(luma, flat)))
    edges = inside & (coarse >= np.quantile(coarse[inside], 1 - _EDGES))
    return FaceQuality(_blur(fine[edges], coarse[edges]), noise, _blocks(luma, inside))


def _blur(fine: NDArray[np.float32], coarse: NDArray[np.float32]) -> float:
    # An edge of sigma s seen at scale a has a peak gradient ~ 1 / sqrt(s^2 + a^2).
    ratio = float(np.median(fine / np.maximum(coarse, 1e-6))) ** 2
    if ratio <= 1:
        return float("inf")
    squared = (_COARSE**2 - ratio * _FINE**2) / (ratio - 1)
    return float(np.sqrt(max(squared, 0.0)))


def _gradient(luma: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(luma, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    return np.asarray(cv2.magnitude(x, cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)))


def _noise(luma: NDArray[np.float32], flat: NDArray[np.bool_]) -> float:
    if not flat.any():
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    response = cv2.filter2D(luma, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)
    return float(np.median(np.abs(response[flat])) / 0.6745)


def _halved(
    luma: NDArray[np.float32], flat: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    size = max(luma.shape[1] // 2, 1), max(luma.shape[0] // 2, 1)
    small = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.float32)
    return small, cv2.resize(flat.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def _blocks(luma: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    return max(_blocks_across(luma, inside), _blocks_across(luma.T, inside.T))


def _blocks_across(luma: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    if luma.shape[1] < 4 * _GRID:
        return 0.0
    # The step at a pixel border beyond what its two sides would lead to: 0 on slopes.
    jump = np.abs(3 * (luma[:, 2:-1] - luma[:, 1:-2]) - (luma[:, 3:] - luma[:, :-3]))
    jump = np.where(inside[:, 2:-1], np.minimum(jump, _STEEPEST), 0).sum(0)
    seen = inside[:, 2:-1].sum(0)
    means = [jump[k::_GRID].sum() / max(seen[k::_GRID].sum(), 1) for k in range(_GRID)]
    middle = float(np.median(means))
    return float(max(means) / middle - 1) if middle > 0 else 0.0


_HEAD = np.array(
    [[-31.5, 0.0, 0.0], [31.5, 0.0, 0.0], [0.0, 37.0, 27.0], [-28.0, 65.5, 2.0], [28.0, 65.5, 2.0]]
)
"""mm: x to the right of the image, y down, z towards the camera; of eyes, nose tip and mouth.

Across and down it is the FFHQ template at 63 mm between the eyes (the adult mean). The depths,
27 mm from the eyes to the tip of the nose and 2 mm to the corners of the mouth, are rounded from
the head model of common pose demonstrations; heads differ by a few millimetres.
"""


@dataclass(frozen=True)
class HeadPose:
    """Degrees. yaw: to the side, positive towards the right of the image. pitch: positive where
    the nose points down. roll: in the image plane, clockwise."""

    yaw: float
    pitch: float
    roll: float


def head_pose(landmarks: NDArray[np.floating]) -> HeadPose:
    """Pose of a head by its landmarks [5,2] (eyes, nose, mouth corners), in px of any scale.

    A scaled orthographic view of a mean head is fitted by least squares; the depth is carried by
    the nose alone, so an error of the nose by a tenth of the eye distance is about 14 degrees.
    Raises InputError where the points lie on one spot.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise InputError(f"landmarks of shape {points.shape}; expected finite [5,2]")
    head = _HEAD - _HEAD.mean(0)
    view = np.linalg.lstsq(head, points - points.mean(0), rcond=None)[0].T  # [2,3]
    down = view[:, 1]
    if np.linalg.norm(view) < 1e-9 or np.linalg.norm(down) < 1e-9:
        raise InputError("landmarks lie on one spot; expected five separate points of a face")
    roll = np.arctan2(-down[0], down[1])
    cos, sin = np.cos(roll), np.sin(roll)
    upright = np.array([[cos, sin], [-sin, cos]]) @ view
    yaw = np.arctan2(upright[0, 2], upright[0, 0])
    # The second row is scale * (-sin yaw sin pitch, cos pitch, cos yaw sin pitch).
    nod = upright[1, 2] * np.cos(yaw) - upright[1, 0] * np.sin(yaw)
    pitch = np.arctan2(nod, upright[1, 1])
    return HeadPose(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))
