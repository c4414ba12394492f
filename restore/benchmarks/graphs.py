"""Exported graphs: size, load and processor seconds a face, in onnxruntime and OpenVINO."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from restore.benchmarks.timing import Run, time_in_turn
from restore.errors import InputError

HINTS = {"OpenVINO float32": "f32", "OpenVINO bfloat16": "bf16"}


def main(argv: Sequence[str] | None = None) -> int:
    """Print a Markdown row for each graph and runtime; one thread, so that seconds are a core's."""
    parser = argparse.ArgumentParser("restore.benchmarks graphs", description=__doc__)
    parser.add_argument("graph", type=Path, nargs="+", help="NAME.onnx and its weights")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args(argv)
    loads: dict[str, float] = {}
    runs: dict[str, Run] = {}
    for path in options.graph:
        if not path.is_file():
            raise InputError(f"there is no graph {path}; make one with restore export")
        for runtime, load in _loaders(options.threads).items():
            label = f"{path.name} | {path.stat().st_size / 1e6:.1f} | {runtime}"
            start = time.process_time()
            runs[label] = load(path)
            loads[label] = time.process_time() - start
    rows = time_in_turn(runs, options.repeats)
    columns = ("graph", "MB", "runtime", "load, cpu s", "a face, cpu s", "seconds")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for label, row in rows.items():
        print(f"| {label} | {loads[label]:.2f} | {row['cpu']:.3f} | {row['min']:.3f} |")
    return 0


def _loaders(threads: int) -> dict[str, Callable[[Path], Run]]:
    loaders: dict[str, Callable[[Path], Run]] = {"onnxruntime": lambda p: _onnxruntime(p, threads)}
    if find_spec("openvino"):
        for name, hint in HINTS.items():
            loaders[name] = lambda p, hint=hint: _openvino(p, threads, hint)  # type: ignore[misc]
    return loaders


def _feed(size: int) -> dict[str, Any]:
    lq = np.random.default_rng(0).uniform(-1, 1, (1, 3, size, size)).astype(np.float32)
    return {"lq": lq, "fidelity": np.ones(1, np.float32)}


def _onnxruntime(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(
        str(path.resolve()), options, providers=["CPUExecutionProvider"]
    )
    feed = _feed(session.get_inputs()[0].shape[-1])
    return lambda: session.run(None, feed)


def _openvino(path: Path, threads: int, hint: str) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path.resolve()))
    size = model.input("lq").partial_shape[3].get_length()
    model.reshape({"lq": [1, 3, size, size], "fidelity": [1]})
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": hint}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    feed = _feed(size)
    return lambda: request.infer(feed)
