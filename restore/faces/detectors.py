"""Detectors in others' files: YuNet, RetinaFace, MTCNN; and the bounded size they look at."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError, MissingExtraError
from restore.faces.align import Matrix, compose, invert, resized, shifted
from restore.faces.face import Face

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


class RetinaFace:
    """ResNet-50 or MobileNet 0.25, told apart by the weights file; facexlib's layout."""

    def __init__(self, path: Path, device: str = "cpu", nms_threshold: float = 0.4) -> None:
        self.path = path
        self.device = device
        self.nms_threshold = nms_threshold
        self._net: Any = None
        self._lock = threading.Lock()

    def look(self, image: Photo, min_score: float = 0.3) -> list[Face]:
        """Faces in an RGB uint8 image [h,w,3], best first."""
        with self._lock:
            if self._net is None:
                self._net = self._open()
            import torch

            with torch.inference_mode():
                # facexlib keeps the size of the last image on the network: one call at a time.
                rows = self._net.detect_faces(
                    np.ascontiguousarray(image[..., ::-1]), min_score, self.nms_threshold
                )
        faces = [
            Face(row[:4], row[5:15].reshape(5, 2), float(row[4]))
            for row in np.asarray(rows, np.float64)
        ]
        return sorted(faces, key=lambda f: -f.score)

    def look_batch(self, images: Photo, min_score: float = 0.3) -> list[list[Face]]:
        """Faces of each RGB uint8 image of a batch [n,h,w,3], one after another."""
        return [self.look(image, min_score) for image in images]

    def _open(self) -> Any:
        try:
            from facexlib.detection.retinaface import RetinaFace as Network

            from restore.checkpoints.weights_file import read_state_dict
        except ImportError as error:
            raise MissingExtraError(
                error.name or "facexlib", "torch", "the detector retinaface"
            ) from error
        state = read_state_dict(self.path).tensors
        kind = "resnet50" if "body.layer4.0.conv1.weight" in state else "mobile0.25"
        network = Network(network_name=kind, half=False, device=self.device)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"{self.path} does not fit RetinaFace {kind}: {error}") from error
        return network.eval().to(self.device)


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
