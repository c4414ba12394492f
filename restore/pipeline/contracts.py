"""What the pipeline asks of a network and of a detector; anything of this form will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from restore.faces.face import Face


class Runtime(Protocol):
    """A network on aligned crops; safe to share between threads."""

    @property
    def crop_size(self) -> int:
        """Side s of the crops in px."""
        ...

    @property
    def template(self) -> NDArray[np.float64]:
        """[5,2] points in crop pixels that the landmarks are brought to."""
        ...

    @property
    def name(self) -> str:
        """Such as "onnxruntime" or "torch"."""
        ...

    @property
    def supports_fidelity(self) -> bool:
        """Whether `fidelity` changes anything."""
        ...

    def run(
        self, crops: NDArray[np.uint8], fidelity: float | NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """uint8 RGB [n,s,s,3], fidelity in [0,1] -> the same shape, estimates [n,6] or None."""
        ...


class Detector(Protocol):
    """Finds faces; safe to share between threads."""

    def detect(self, image: NDArray[np.uint8]) -> Sequence[Face]:
        """Faces of an RGB uint8 photo [h,w,3]."""
        ...
