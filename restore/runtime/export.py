"""`restore export`: the ONNX graph of a model, over its weights file or with weights of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from restore.checkpoints.architectures import header_of
from restore.checkpoints.named_models import MODELS
from restore.config.graph_layout import tensor_places
from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError, InputError, OptionError
from restore.runtime.checkpoint_graph import (
    build_graph,
    checkpoint_graph,
    is_ours,
    load_restorer_checkpoint,
)
from restore.runtime.export_check import TOLERANCE, check_graph, check_precision
from restore.runtime.graph import OPSET, PRECISIONS, GraphBuilder

__all__ = ["check_graph", "check_precision", "export_model", "export_precision", "main"]


def export_model(
    model: str | os.PathLike[str], output: str | os.PathLike[str] | None = None
) -> Path:
    """Write the graph of a model file of ours beside it; returns its path.

    Inputs `lq` float32 [n,3,s,s] RGB in [-1,1] and `fidelity` float32 [n] in [0,1]; outputs `image`
    [n,3,s,s] and, where the network estimates it, `degradation` [n,6]. The graph holds no weights:
    it points into the safetensors file, so both must stay in one folder. Needs `onnx`, not torch.
    """
    model = Path(model)
    output = model.with_suffix(".onnx") if output is None else Path(output)
    if output.resolve().parent != model.resolve().parent:
        raise InputError(
            f"{output} is not in the folder of {model}; the graph reads its weights from that file "
            "by name, so both must lie in one folder"
        )
    header = read_header(model)
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{model} is no model file of ours (format {header.get('format')!r})")
    architecture, arguments = str(header.get("architecture")), header.get("arguments", {})
    graph = GraphBuilder(tensor_places(model), model.name)
    text = f"weights in {model.name}; made by restore export"
    proto = build_graph(graph, architecture, arguments, text)
    _write(proto.SerializeToString(), output)
    return output


def export_precision(
    model: str | os.PathLike[str], precision: str, output: str | os.PathLike[str] | None = None
) -> Path:
    """Write the graph of a model or GFPGAN-family checkpoint with weights of its own, in one file.

    `precision` "fp16": weights and computation float16, inputs and outputs float32. "int8": weights
    int8 with a scale for each output channel, computation float32. "fp32": as they are. The same
    inputs and outputs as `export_model`; default name NAME.fp16.onnx. Returns its path.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    model = Path(model)
    output = model.with_suffix(f".{precision}.onnx") if output is None else Path(output)
    if output.resolve() == model.with_suffix(".onnx").resolve() and is_ours(model):
        raise InputError(
            f"{output} is the graph over {model.name} that the runtimes read; name another with -o"
        )
    _write(checkpoint_graph(model, precision)[1].SerializeToString(), output)
    return output


def _write(content: bytes, output: Path) -> None:
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, output)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def import_checkpoint(source: str | os.PathLike[str], output: Path) -> Path:
    """Write a GFPGAN-family checkpoint (.pth, ...) as a model file of ours; returns its path.

    float32, as such files are; the header says what was detected. Needs torch.
    """
    import torch

    from restore.checkpoints.model_file import save_model_file

    path = Path(source)
    network = load_restorer_checkpoint(path)
    rows = [entry for entry in MODELS.values() if entry.filename == path.name]
    detection = network.detection
    header = {
        **header_of(detection.architecture, detection.arguments),
        "licence": rows[0].licence if rows else "that of the checkpoint it was made from",
        "card": f"Imported from {path.name} ({detection.family}).",
    }
    save_model_file(output, network, header, torch.float32)
    return output


def main(argv: Sequence[str] | None = None) -> int:
    """`restore export MODEL [-o NAME.onnx] [--precision P] [--check]`; returns the exit code."""
    options = _parser().parse_args(argv)
    model = _find(options.model)
    output = None if options.output is None else Path(options.output)
    if options.precision != "fp32":
        return _export_precision(model, options.precision, output, options.check)
    if not is_ours(model):
        target = (output or model).with_suffix(".safetensors")
        if target.resolve() == model.resolve():
            raise InputError(f"{model} would be overwritten by its import; name another with -o")
        model = import_checkpoint(model, target)
        sys.stdout.write(f"{model}: {model.stat().st_size / 1e6:.1f} MB, float32 weights\n")
    graph = export_model(model, output)
    sys.stdout.write(f"{graph}: graph over {model.name}, opset {OPSET}, any batch\n")
    if options.check:
        found = check_graph(model, graph)
        listed = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        sys.stdout.write(f"largest difference from torch: {listed} (allowed {TOLERANCE:.0e})\n")
    return 0


def _export_precision(model: Path, precision: str, output: Path | None, check: bool) -> int:
    graph = export_precision(model, precision, output)
    size = graph.stat().st_size / 1e6
    sys.stdout.write(f"{graph}: {size:.1f} MB, {precision} weights, opset {OPSET}, any batch\n")
    if check:
        found, least = check_precision(model, graph, precision)
        sys.stdout.write(f"image against torch: {found:.1f} dB (at least {least:.0f} asked)\n")
    return 0


def _find(model: str) -> Path:
    from restore.checkpoints.named_models import locate_model

    path = Path(model)
    return path if path.is_file() else locate_model(model)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("restore export", description=__doc__)
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
    return parser
