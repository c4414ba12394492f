"""Which part of a face is covered, as the packaged network sees it."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError
from restore.geometry import ffhq_template
from restore.model_files import model_session
from restore.trust.identity import face_view, to_planes

PACKAGED = Path(__file__).parents[1] / "weights" / "cover.safetensors"
SIDE = 64
"""px of what the network sees."""
VIEW_POINTS = ffhq_template(SIDE, 1.5, (256.0, 285.0))
"""[5,2], where the landmarks lie in it: the face without most of the hair."""
CELLS = 16
"""The network's answer is a map of CELLS x CELLS."""


def _inside() -> NDArray[np.bool_]:
    place = (np.arange(CELLS) - (CELLS - 1) / 2) / CELLS
    x, y = np.meshgrid(place, place)
    return np.asarray(np.hypot(x / 0.36, (y + 0.01) / 0.46) < 1)


INSIDE = _inside()
"""[CELLS,CELLS] bool: the oval of the face, the share of which is given."""


class CoverDetector:
    """The packaged network or another file of its kind; safe to share by threads.

    Nothing is read until it is first used; one session then serves all threads.
    """

    def __init__(self, model: Path = PACKAGED, threads: int = 1) -> None:
        self._model, self._threads = model, threads
        self._lock = threading.Lock()
        self._session: Any = None

    def covered(self, crop: NDArray[np.uint8], template: NDArray[np.floating]) -> float:
        """Share in [0,1] of the face's oval in an aligned crop [s,s,3] that is hidden.

        Raises `CheckpointError` where the weights or their graph cannot be used.
        """
        return float((self.maps(crop[None], template)[0][INSIDE] > 0).mean())

    def maps(self, crops: NDArray[np.uint8], template: NDArray[np.floating]) -> NDArray[np.float32]:
        """Aligned uint8 RGB crops [n,s,s,3] -> logits [n,16,16], above 0 where something hides it.

        template [5,2]: the landmarks in the crops' pixels.
        """
        views = face_view(crops, template, VIEW_POINTS, (SIDE, SIDE))
        with self._lock:
            if self._session is None:
                self._session = model_session(self._model, self._threads)
        logits = self._session.run(["cover"], {"face": to_planes(views)})[0]
        return np.asarray(logits[:, 0], np.float32)


@lru_cache(maxsize=1)
def packaged_cover_detector() -> CoverDetector:
    """The packaged network, shared by the process; CheckpointError where its file is missing."""
    if not PACKAGED.is_file():
        raise CheckpointError(
            f"The packaged network that sees covered faces is missing at {PACKAGED}; reinstall "
            "restore"
        )
    return CoverDetector()
