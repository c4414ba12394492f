"""onnxruntime sessions on the CPU: of a graph, or of a model file and the graph beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from restore.config.graph_layout import check_layout, stale
from restore.config.model_header import read_header
from restore.errors import CheckpointError


def open_session(graph: Path, threads: int) -> Any:
    """A session of that many threads; `CheckpointError` for a file that is no graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait for more work after a run would keep detection and files from the cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(
            os.fspath(graph.resolve()), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions share no class of their own
        reason = str(error).splitlines()[0]
        raise stale(graph, f"cannot be loaded by onnxruntime ({reason})") from error


def model_session(model: Path, threads: int) -> Any:
    """The session of `model`'s graph; `CheckpointError` where it is missing or another file's."""
    graph = model.with_suffix(".onnx")
    if not graph.is_file():
        raise CheckpointError(
            f"{model} has no graph beside it ({graph.name}); make it with: restore export {model}"
        )
    check_layout(graph, read_header(model)["tensors"])
    return open_session(graph, threads)
