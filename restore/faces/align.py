"""Alignment: from a face in a photo to its crop on the template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.warp import Image, Matrix, compose, resized, warp
from restore.geometry.similarity import similarity

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
