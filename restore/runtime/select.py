"""`load_runtime`: a model file and a wish -> the runtime that fits both and this machine."""

from __future__ import annotations

import logging
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from restore.errors import CheckpointError, DeviceError, RestoreError
from restore.runtime.contract import Runtime, check_precision

BACKENDS = ("auto", "onnxruntime", "openvino", "torch")
_log = logging.getLogger(__name__)


def load_runtime(
    model: str | os.PathLike[str],
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    precision: str = "auto",
) -> Runtime:
    """Load a model file.

    `backend` "auto": torch where the device is a GPU (or none is named and there is one), else
    OpenVINO where it is installed and works (on the graph beside the model or, with the extra
    `onnx`, on one made in memory), else onnxruntime on that graph, else torch. `device`: "cpu",
    "cuda", "cuda:1", "mps"; None or "auto" is the best there is. `threads`: all cores unless given.
    `precision`: "float32", "bfloat16" (torch and OpenVINO), "float16" (torch), or "auto": bfloat16
    through OpenVINO on a CPU that computes in it, float16 on a CUDA GPU, else float32, which is all
    that onnxruntime has. Raises `CheckpointError`, `DeviceError` or `MissingExtraError`.
    """
    check_precision(precision)
    path = Path(model)
    if not path.is_file():
        raise CheckpointError(f"There is no model file {path}")
    if backend not in BACKENDS:
        raise DeviceError(f"backend {backend!r} is unknown; choose of {', '.join(BACKENDS)}")
    device = None if device in (None, "auto") else device
    graph = path.with_suffix(".onnx")
    if backend == "auto":
        backend = _choose(device, graph)
        if backend == "openvino":
            return _openvino_or_other(path, graph, threads, precision)
    if backend == "torch":
        return _torch(path, device or _best_device(), threads, precision)
    if device is not None and device != "cpu":
        raise DeviceError(f"backend {backend} runs on the cpu, not on {device!r}; choose torch")
    if backend == "openvino":
        return _openvino(path, graph, threads, precision)
    return _onnxruntime(path, graph, threads, precision)


def _choose(device: str | None, graph: Path) -> str:
    if device not in (None, "cpu") or (device is None and _best_device() != "cpu"):
        return "torch"
    # Without a graph beside the model one is made, by torch and onnx, for OpenVINO to run.
    if find_spec("openvino") and (graph.is_file() or (find_spec("torch") and find_spec("onnx"))):
        return "openvino"
    return "onnxruntime" if graph.is_file() else "torch"


def _torch(path: Path, device: str, threads: int | None, precision: str) -> Runtime:
    from restore.runtime.torch_runtime import TorchRuntime

    _check_device(device)
    runtime = TorchRuntime(path, device, threads, precision)
    if device == "cpu":
        return runtime
    from restore.runtime.torch_runtime import SharedBatches

    return SharedBatches(runtime)


def _check_device(device: str) -> None:
    """DeviceError, in one sentence, for a device that torch does not have here."""
    try:
        import torch
    except ImportError:  # said by the runtime itself
        return
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise DeviceError(
            f"device {device!r} is unknown; expected cpu, cuda, cuda:1 or mps"
        ) from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}  # fmt: skip
    if not there.get(kind, False):
        has = ", ".join(name for name, found in there.items() if found)
        raise DeviceError(f"device {device!r} is not there: this machine has {has}")


def _onnxruntime(path: Path, graph: Path, threads: int | None, precision: str) -> Runtime:
    from restore.runtime.onnx_runtime import OnnxRuntime

    if not graph.is_file():
        raise CheckpointError(
            f"{path} has no graph beside it ({graph.name}), which backend onnxruntime needs; make "
            f"it with: restore export {path}"
        )
    if precision not in ("auto", "float32"):
        raise DeviceError(
            f"backend onnxruntime computes in float32 on a CPU, not in {precision!r}; choose "
            "openvino or torch"
        )
    return OnnxRuntime(path, graph, threads)


def _openvino(path: Path, graph: Path, threads: int | None, precision: str) -> Runtime:
    from restore.runtime.openvino_runtime import OpenvinoRuntime

    if graph.is_file():
        return OpenvinoRuntime(path, graph, threads, precision)
    from restore.runtime.export import checkpoint_graph

    info, proto = checkpoint_graph(path)
    content = proto.SerializeToString()
    del proto  # both are as large as the weights
    return OpenvinoRuntime.of_graph(info, content, str(path), threads, precision)


def _openvino_or_other(path: Path, graph: Path, threads: int | None, precision: str) -> Runtime:
    """OpenVINO was not asked for, so that it fails is said in the log and costs nothing."""
    try:
        return _openvino(path, graph, threads, precision)
    except (RestoreError, ImportError, OSError, RuntimeError) as error:
        _log.warning("OpenVINO is installed but cannot run %s: %s", path.name, error)
    if graph.is_file():
        return _onnxruntime(path, graph, threads, precision)
    return _torch(path, "cpu", threads, precision)


def _best_device() -> str:
    """ "cuda" where torch can use a GPU, else "cpu"; torch is only imported where a GPU may be."""
    traces = ("/proc/driver/nvidia/version", "/dev/kfd", "/dev/dxg")
    if not any(map(os.path.exists, traces)) and shutil.which("nvidia-smi") is None:
        return "cpu"
    if find_spec("torch") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
