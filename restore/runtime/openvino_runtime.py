"""A model through OpenVINO, from the same graph; the extra that is taken by itself when there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import DeviceError, MissingExtraError
from restore.model_files import check_layout, stale
from restore.runtime.contract import (
    ModelInfo,
    check_request,
    cpu_precision,
    read_model_info,
    to_network,
    to_pixels,
)
from restore.runtime.onnx_runtime import cpu_count

HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenvinoRuntime:
    """`Runtime` of docs/architecture.md over a graph, on the CPU.

    `precision`: "float32" (results equal to the other runtimes), "bfloat16" (about half the time on
    a CPU that computes in it; 45 dB or more from float32), "auto": bfloat16 on such a CPU. The
    network is compiled for one crop, which lets it fuse passes over the features; a batch on a CPU
    would be no faster and take more memory. Each call has an inference request to itself, so
    threads may share it; requests are kept, because a new one maps all of its features anew, which
    takes half as long as a face.
    """

    name = "openvino"

    def __init__(
        self, model: Path, graph: Path, threads: int | None = None, precision: str = "auto"
    ) -> None:
        """NAME.safetensors and NAME.onnx."""
        info = read_model_info(model)
        check_layout(model, graph)
        self._load(info, graph, str(graph), threads, precision)

    @classmethod
    def of_graph(
        cls,
        info: ModelInfo,
        graph: bytes,
        source: str,
        threads: int | None = None,
        precision: str = "auto",
    ) -> OpenvinoRuntime:
        """A graph in memory that holds its own weights; `source` is what it was made of."""
        runtime = cls.__new__(cls)
        runtime._load(info, graph, source, threads, precision)
        return runtime

    def _load(
        self,
        info: ModelInfo,
        graph: Path | bytes,
        source: str,
        threads: int | None,
        precision: str,
    ) -> None:
        self.crop_size, self.template = info.crop_size, info.template
        self.precision = cpu_precision(precision)
        threads = cpu_count() if threads is None else threads
        self._model = _compile(graph, source, self.crop_size, threads, self.precision)
        self._idle: list[Any] = []
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
        images, estimates = np.empty_like(crops), []
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        for i in range(len(crops)):
            feed = {"lq": to_network(crops[i : i + 1])}
            if self.supports_fidelity:
                feed["fidelity"] = dial[i : i + 1]
            request.infer(feed)
            values = {name: request.get_tensor(port).data for name, port in self._outputs.items()}
            images[i : i + 1] = to_pixels(values["image"])
            if "degradation" in values:
                estimates.append(np.array(values["degradation"], np.float32))
        self._idle.append(request)  # one that failed is not used again
        return images, np.concatenate(estimates) if estimates else None


def import_openvino() -> Any:
    """openvino, without the package that reports its use to a web host at each import.

    MissingExtraError where it is not installed.
    """
    # None makes Python say that there is none; openvino has a stand-in for that case.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino", "The openvino backend") from error
    return openvino


def _compile(graph: Path | bytes, source: str, size: int, threads: int, precision: str) -> Any:
    openvino = import_openvino()
    if precision not in HINTS:
        raise DeviceError(
            f"backend openvino computes in {' or '.join(HINTS)} on a CPU, not in {precision!r}"
        )
    if threads < 1:
        raise DeviceError(f"{threads} threads cannot run a network; give 1 or more")
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS[precision],
    }
    try:
        core = openvino.Core()
        model = core.read_model(graph if isinstance(graph, bytes) else os.fspath(graph.resolve()))
        shapes = {"lq": [1, 3, size, size], "fidelity": [1]}
        names = set().union(*(port.names for port in model.inputs))
        model.reshape({name: shape for name, shape in shapes.items() if name in names})
    except RuntimeError as error:
        if isinstance(graph, bytes):
            raise DeviceError(
                f"OpenVINO cannot read the graph of {source} ({_reason(error)}); choose "
                "--backend torch"
            ) from error
        raise stale(graph, f"cannot be read by OpenVINO ({_reason(error)})") from error
    try:
        return core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise DeviceError(
            f"OpenVINO cannot compile {source} for this CPU ({_reason(error)}); choose "
            "--backend onnxruntime"
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
