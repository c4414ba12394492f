"""Soft masks of a face in its aligned crop, from landmarks alone or refined by a parser."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.warp import invert
from restore.geometry.similarity import similarity
from restore.geometry.template import FFHQ_512

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
