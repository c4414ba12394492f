"""onnxruntime sessions on the CPU; the only module that imports onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from restore.config.graph_layout import check_layout, stale
from restore.errors import CheckpointError


def open_session(graph: Path | bytes, threads: int, spin: bool = True) -> Any:
    """A session of that many threads; `CheckpointError` for what is no graph.

    `graph`: a file, or a model in memory. Threads that `spin` wait busily for the next step of a
    run (never after it); without, they take no core from others between the steps either.
    """
    # Read when the library is loaded: with it no device id is kept and no telemetry host looked up.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # what it cannot fold at load, it says of every float16 node
    if spin:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = graph if isinstance(graph, bytes) else os.fspath(graph.resolve())
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        reason = str(error).splitlines()[0]
        if isinstance(graph, Path) and graph.with_suffix(".safetensors").is_file():
            raise stale(graph, f"cannot be loaded by onnxruntime ({reason})") from error
        what = "this graph" if isinstance(graph, bytes) else graph
        raise CheckpointError(f"{what} is no model that onnxruntime can run: {reason}") from error


def model_session(model: Path, threads: int) -> Any:
    """The session of `model`'s graph; `CheckpointError` where it is missing or another file's."""
    graph = model.with_suffix(".onnx")
    if not graph.is_file():
        raise CheckpointError(
            f"{model} has no graph beside it ({graph.name}); make it with: restore export {model}"
        )
    check_layout(model, graph)
    return open_session(graph, threads)
