"""`restore export`: the ONNX graph of a model, over its weights file or with weights of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from restore.errors import InputError
from restore.runtime.export import (
    OPSET,
    PRECISIONS,
    TOLERANCE,
    check_graph,
    check_precision,
    export_model,
    export_precision,
    import_checkpoint,
    is_ours,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `restore export`."""
    parser.add_argument("model", help="model file, GFPGAN checkpoint, or the name of a model")
    parser.add_argument("-o", "--output", metavar="NAME.onnx", help="default: beside the model")
    parser.add_argument("--format", choices=["onnx"], default="onnx", help="default: %(default)s")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="fp32: a graph over the weights file; fp16, int8: one file with weights of its own",
    )
    parser.add_argument("--check", action="store_true", help="compare onnxruntime with torch")


def run(arguments: argparse.Namespace) -> int:
    """Write the graph, and check it where that is asked for."""
    model = _find(arguments.model)
    output = None if arguments.output is None else Path(arguments.output)
    if arguments.precision != "fp32":
        return _export_precision(model, arguments.precision, output, arguments.check)
    if not is_ours(model):
        target = (output or model).with_suffix(".safetensors")
        if target.resolve() == model.resolve():
            raise InputError(f"{model} would be overwritten by its import; name another with -o")
        model = import_checkpoint(model, target)
        print(f"{model}: {model.stat().st_size / 1e6:.1f} MB, float32 weights")
    graph = export_model(model, output)
    copied = graph.resolve().parent != model.resolve().parent
    beside = f"{model.name}, copied beside it" if copied else model.name
    print(f"{graph}: graph over {beside}, opset {OPSET}, any batch")
    if arguments.check:
        found = check_graph(model, graph)
        listed = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        print(f"largest difference from torch: {listed} (allowed {TOLERANCE:.0e})")
    return 0


def _export_precision(model: Path, precision: str, output: Path | None, check: bool) -> int:
    graph = export_precision(model, precision, output)
    size = graph.stat().st_size / 1e6
    print(f"{graph}: {size:.1f} MB, {precision} weights, opset {OPSET}, any batch")
    if check:
        found, least = check_precision(model, graph, precision)
        print(f"image against torch: {found:.1f} dB (at least {least:.0f} asked)")
    return 0


def _find(model: str) -> Path:
    from restore.checkpoints.named_models import locate_model

    path = Path(model)
    return path if path.is_file() else locate_model(model)
