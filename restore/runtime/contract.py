"""What every runtime of a network looks like: aligned crops in, restored crops out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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
    def precision(self) -> str:
        """What it computes in: "float32", "bfloat16" or "float16"."""
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
