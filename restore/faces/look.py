"""One look of a face network at one image, and the images it is shown: resized, padded, turned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.faces.face import Face
from restore.faces.warp import Matrix, compose, invert, resized, shifted

Photo = NDArray[np.uint8]


class Look(Protocol):
    """A face network at the image's own size; safe to share between threads."""

    def look(self, image: Photo, min_score: float = 0.3) -> list[Face]:
        """Faces in an RGB uint8 image [h,w,3]."""
        ...

    def look_batch(self, images: Photo, min_score: float = 0.3) -> list[list[Face]]:
        """Faces of each RGB uint8 image of a batch [n,h,w,3]."""
        ...


@dataclass(frozen=True, eq=False)
class View:
    """An image made from a photo, and the map [2,3] from the photo's pixels to its own."""

    image: Photo
    matrix: Matrix

    def faces(self, look: Look, min_score: float) -> list[Face]:
        """What the network finds in this view, in the photo's coordinates."""
        back = invert(self.matrix)
        return [face.transformed(back) for face in look.look(self.image, min_score)]


def whole(photo: Photo) -> View:
    """The photo itself."""
    return View(photo, shifted(0, 0))


def bounded(view: View, long_side: int, enlarge: float = 1.0) -> View:
    """The view resized so that its long side is at most `long_side`.

    A view smaller than that is enlarged up to the factor `enlarge`.
    """
    height, width = view.image.shape[:2]
    scale = min(long_side / max(height, width), enlarge)
    if scale == 1:
        return view
    new_w, new_h = max(round(width * scale), 1), max(round(height * scale), 1)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(view.image, (new_w, new_h), interpolation=method)
    matrix = compose(resized(new_w / width, new_h / height), view.matrix)
    return View(image.astype(np.uint8, copy=False), matrix)


def padded(view: View, share: float) -> View:
    """The view with a gray frame of `share` of its long side all around."""
    pad = math.ceil(max(view.image.shape[:2]) * share)
    image = np.pad(view.image, ((pad, pad), (pad, pad), (0, 0)), constant_values=128)
    return View(image, compose(shifted(pad, pad), view.matrix))


def turned(view: View, quarters: int) -> View:
    """The view turned by that many quarters counter-clockwise."""
    height, width = view.image.shape[:2]
    maps = {
        0: np.array([[1.0, 0, 0], [0, 1, 0]]),
        1: np.array([[0.0, 1, 0], [-1, 0, width - 1]]),
        2: np.array([[-1.0, 0, width - 1], [0, -1, height - 1]]),
        3: np.array([[0.0, -1, height - 1], [1, 0, 0]]),
    }
    image = np.ascontiguousarray(np.rot90(view.image, quarters))
    return View(image, compose(maps[quarters % 4], view.matrix))


def tiles(view: View, side: int, overlap: int) -> list[View]:
    """Views of at most side x side pixels that cover the view and overlap by `overlap` or more."""
    height, width = view.image.shape[:2]
    return [
        View(view.image[y : y + side, x : x + side], compose(shifted(-x, -y), view.matrix))
        for y in _starts(height, side, overlap)
        for x in _starts(width, side, overlap)
    ]


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [0]
    count = math.ceil((length - overlap) / (side - overlap))
    return [round(i * (length - side) / (count - 1)) for i in range(count)]
