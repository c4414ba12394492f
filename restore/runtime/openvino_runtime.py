"""A model through OpenVINO, from the same graph; the extra that is taken by itself when there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.config.graph_layout import check_layout, stale
from restore.errors import DeviceError, MissingExtraError
from restore.runtime.model_info import read_model_info
from restore.runtime.onnx_runtime import BATCH, cpu_count
from restore.runtime.pixels import check_request, to_network, to_pixels

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenvinoRuntime:
    """`Runtime` of docs/architecture.md over NAME.onnx and NAME.safetensors, on the CPU.

    `precision`: "float32" (the default: results equal to the other runtimes) or "bfloat16",
    which is faster where the CPU computes in it. Each call has an inference request of its own, so
    threads may share it.
    """

    name = "openvino"

    def __init__(
        self, model: Path, graph: Path, threads: int | None = None, precision: str = "float32"
    ) -> None:
        info = read_model_info(model)
        self.crop_size, self.template = info.crop_size, info.template
        check_layout(graph, info.header["tensors"])
        self._model = _compile(graph, cpu_count() if threads is None else threads, precision)
        self.supports_fidelity = "fidelity" in set().union(*(i.names for i in self._model.inputs))
        # An output keeps the names of the values it was merged with; only ours count.
        self._outputs = {
            name: port
            for port in self._model.outputs
            for name in ("image", "degradation")
            if name in port.names
        }

    def run(
        self, crops: NDArray[np.uint8], fidelity: float | NDArray[np.float32] = 1.0
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """uint8 RGB [n,s,s,3], fidelity in [0,1] -> the same shape, estimates [n,6] or None."""
        dial = check_request(crops, fidelity, self.crop_size, self.supports_fidelity)
        request = self._model.create_infer_request()
        images, estimates = np.empty_like(crops), []
        for start in range(0, len(crops), BATCH):
            part = slice(start, start + BATCH)
            feed = {"lq": to_network(crops[part])}
            if self.supports_fidelity:
                feed["fidelity"] = dial[part]
            request.infer(feed)
            values = {name: request.get_tensor(port).data for name, port in self._outputs.items()}
            images[part] = to_pixels(values["image"])
            if "degradation" in values:
                estimates.append(np.array(values["degradation"], np.float32))
        return images, np.concatenate(estimates) if estimates else None


def _compile(graph: Path, threads: int, precision: str) -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino", "The openvino backend") from error
    if precision not in PRECISIONS:
        raise DeviceError(
            f"backend openvino computes in {' or '.join(PRECISIONS)} on a CPU, not in {precision!r}"
        )
    if threads < 1:
        raise DeviceError(f"{threads} threads cannot run a network; give 1 or more")
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
    }
    try:
        core = openvino.Core()
        model = core.read_model(os.fspath(graph.resolve()))
    except RuntimeError as error:
        raise stale(graph, f"cannot be read by OpenVINO ({_reason(error)})") from error
    try:
        return core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise DeviceError(
            f"OpenVINO cannot compile {graph} for this CPU ({_reason(error)}); choose "
            "--backend onnxruntime"
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
