"""MTCNN of facenet-pytorch as a look; torch and its package are loaded at the first use."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from restore.errors import MissingExtraError
from restore.faces.face import Face
from restore.faces.look import Photo


class Mtcnn:
    """The three networks of Zhang et al. 2016, weights from the wheel of facenet-pytorch 2.5.3."""

    def __init__(self, device: str = "cpu", min_face_size: int = 16) -> None:
        self.device = device
        self.min_face_size = min_face_size
        self._net: Any = None
        self._lock = threading.Lock()

    def look(self, image: Photo, min_score: float = 0.3) -> list[Face]:
        """Faces in an RGB uint8 image [h,w,3], best first."""
        import torch

        with self._lock:
            if self._net is None:
                self._net = self._open()
        if min(image.shape[:2]) < self.min_face_size:
            return []
        with torch.inference_mode():
            boxes, scores, landmarks = self._net.detect(np.ascontiguousarray(image), landmarks=True)
        if boxes is None:
            return []
        found = zip(boxes, scores, landmarks, strict=True)
        faces = [Face(box, points, float(score)) for box, score, points in found]
        return sorted((f for f in faces if f.score >= min_score), key=lambda f: -f.score)

    def look_batch(self, images: Photo, min_score: float = 0.3) -> list[list[Face]]:
        """Faces of each RGB uint8 image of a batch [n,h,w,3], one after another."""
        return [self.look(image, min_score) for image in images]

    def _open(self) -> Any:
        try:
            from facenet_pytorch import MTCNN
        except ImportError as error:
            raise MissingExtraError(
                error.name or "facenet-pytorch", "torch", "the detector mtcnn"
            ) from error
        return MTCNN(keep_all=True, device=self.device, min_face_size=self.min_face_size).eval()
