"""YuNet through OpenCV: a look with `cv2.FaceDetectorYN` and a weights file of the user's."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from restore.errors import CheckpointError
from restore.faces.face import Face
from restore.faces.look import Photo

_LARGEST = 640  # a file of fixed input size is checked at this one; larger faces pass unseen
_ORDER = [0, 1, 2, 3, 4]  # YuNet: right eye of the person first, which is the left of the image


class YuNet:
    """The network as a look. cv2's detector keeps state, so a lock guards each call."""

    def __init__(self, path: Path, nms_threshold: float = 0.3) -> None:
        self.path = path
        self.nms_threshold = nms_threshold
        self._net: Any = None
        self._lock = threading.Lock()

    def look(self, image: Photo, min_score: float = 0.3) -> list[Face]:
        """Faces in an RGB uint8 image [h,w,3], best first."""
        height, width = image.shape[:2]
        with self._lock:
            if self._net is None:
                self._net = self._open()
            self._net.setInputSize((width, height))
            self._net.setScoreThreshold(min_score)
            _, rows = self._net.detect(np.ascontiguousarray(image[..., ::-1]))
        faces = [] if rows is None else [_face(row) for row in np.asarray(rows, np.float64)]
        return sorted(faces, key=lambda f: -f.score)

    def look_batch(self, images: Photo, min_score: float = 0.3) -> list[list[Face]]:
        """Faces of each RGB uint8 image of a batch [n,h,w,3], one after another."""
        return [self.look(image, min_score) for image in images]

    def _open(self) -> Any:
        try:
            return cv2.FaceDetectorYN.create(
                str(self.path), "", (_LARGEST, _LARGEST), 0.3, self.nms_threshold, 5000
            )
        except cv2.error as error:
            raise CheckpointError(f"{self.path} is no YuNet model: {error}") from error


def _face(row: np.ndarray[Any, np.dtype[np.float64]]) -> Face:
    x, y, width, height = row[:4]
    landmarks = row[4:14].reshape(5, 2)[_ORDER]
    return Face(np.array([x, y, x + width, y + height]), landmarks, float(row[14]))
