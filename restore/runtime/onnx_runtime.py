"""A model through onnxruntime: the light core's runtime, without torch and without onnx."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import DeviceError
from restore.model_files import check_layout, open_session
from restore.runtime.contract import check_request, read_model_info, to_network, to_pixels


class OnnxRuntime:
    """`Runtime` of docs/architecture.md over NAME.onnx and NAME.safetensors, on the CPU.

    One session serves all threads. Weights are mapped from the file, not copied, where they are
    float32; float16 ones are widened once.
    """

    name = "onnxruntime"
    precision = "float32"

    def __init__(self, model: Path, graph: Path, threads: int | None = None) -> None:
        info = read_model_info(model)
        self.crop_size, self.template = info.crop_size, info.template
        check_layout(model, graph)
        self._session = _session(graph, cpu_count() if threads is None else threads)
        self.supports_fidelity = "fidelity" in {i.name for i in self._session.get_inputs()}
        self._outputs = [o.name for o in self._session.get_outputs()]

    def run(
        self, crops: NDArray[np.uint8], fidelity: float | NDArray[np.float32] = 1.0
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """uint8 RGB [n,s,s,3], fidelity in [0,1] -> the same shape, estimates [n,6] or None."""
        dial = check_request(crops, fidelity, self.crop_size, self.supports_fidelity)
        images, estimates = np.empty_like(crops), []
        for i in range(len(crops)):  # one crop's features fit a cache, those of several do not
            part = slice(i, i + 1)
            feed = {"lq": to_network(crops[part])}
            if self.supports_fidelity:
                feed["fidelity"] = dial[part]
            values = dict(zip(self._outputs, self._session.run(None, feed), strict=True))
            images[part] = to_pixels(values["image"])
            if "degradation" in values:
                estimates.append(values["degradation"])
        return images, np.concatenate(estimates) if estimates else None


def cpu_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _session(graph: Path, threads: int) -> Any:
    if threads < 1:
        raise DeviceError(f"{threads} threads cannot run a network; give 1 or more")
    return open_session(graph, threads)
