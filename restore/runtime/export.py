"""`restore export`: the ONNX graph of a model, over the weights in its safetensors file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restore.checkpoints.architectures import ARCHITECTURES
from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError, InputError
from restore.runtime.gfpgan_graph import build_gfpgan_graph
from restore.runtime.graph import OPSET, GraphBuilder
from restore.runtime.identity_graph import build_identity_model, check_identity_graph
from restore.runtime.mobile_graph import build_mobile_graph

TOLERANCE = 1e-3  # of the check, in the [-1,1] range of pixels
GraphFunction = Callable[[GraphBuilder, Mapping[str, Any], str, str], dict[str, str]]
GRAPHS: dict[str, GraphFunction] = {
    "mobile_restorer": build_mobile_graph,
    "gfpgan_clean": build_gfpgan_graph,
    "gfpgan_v1": build_gfpgan_graph,
}
IDENTITY = "identity_student"  # a graph of its own kind: faces in, vectors out


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
    architecture = header.get("architecture")
    if architecture not in GRAPHS and architecture != IDENTITY:
        known = ", ".join([*GRAPHS, IDENTITY])
        raise CheckpointError(
            f"{model}: architecture {architecture!r} has no graph; these have: {known}"
        )
    # What the name of an architecture fixes counts as an argument.
    arguments = {**header.get("arguments", {}), **ARCHITECTURES[architecture][2]}
    size = header.get("crop_size") or arguments.get("crop_size") or arguments.get("out_size", 512)
    graph = GraphBuilder(header["tensors"], model.name)
    text = f"{architecture}; weights in {model.name}; made by restore export"
    if architecture == IDENTITY:
        proto = build_identity_model(graph, arguments, text)
    else:
        inputs = graph.native("lq"), graph.native("fidelity")
        outputs = GRAPHS[architecture](graph, arguments, *inputs)
        proto = graph.finish(size, outputs, text)
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        part.write_bytes(proto.SerializeToString())
        os.replace(part, output)
    finally:
        part.unlink(missing_ok=True)
    return output


def import_checkpoint(source: str | os.PathLike[str], output: Path) -> Path:
    """Write a GFPGAN-family checkpoint (.pth, ...) as a model file of ours; returns its path.

    float32, as such files are; the header says what was detected. Needs torch.
    """
    import torch

    from restore.checkpoints.load import load_network
    from restore.checkpoints.model_file import save_model_file
    from restore.checkpoints.models_table import MODELS

    path = Path(source)
    rows = [entry for entry in MODELS.values() if entry.filename == path.name]
    network = load_network(path, resample=rows[0].config.get("resample") if rows else None)
    detection = getattr(network, "detection", None)
    if detection is None or detection.architecture not in GRAPHS:
        found = "a model file of ours" if detection is None else detection.family
        raise CheckpointError(f"{path} is {found}; only GFPGAN-family restorers are imported")
    size = detection.arguments["out_size"]
    header = {
        "architecture": detection.architecture,
        "arguments": detection.arguments,
        "crop_size": size,
        "template": {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]},
        "range": "-1..1",
        "licence": rows[0].licence if rows else "that of the checkpoint it was made from",
        "card": f"Imported from {path.name} ({detection.family}).",
    }
    save_model_file(output, network, header, torch.float32)
    return output


def check_graph(model: Path, graph: Path, seed: int = 0) -> dict[str, float]:
    """Largest difference per output between onnxruntime and torch on two random crops.

    Images in the [-1,1] range, at fidelity 1 and 0.4. Raises `CheckpointError` above 1e-3.
    """
    if read_header(model).get("architecture") == IDENTITY:
        return check_identity_graph(model, graph, seed)
    import onnxruntime
    import torch

    from restore.checkpoints.load import load_network

    network = load_network(model)
    session = onnxruntime.InferenceSession(
        os.fspath(graph.resolve()), providers=["CPUExecutionProvider"]
    )
    size = session.get_inputs()[0].shape[-1]
    lq = np.random.default_rng(seed).uniform(-1, 1, (2, 3, size, size)).astype(np.float32)
    fidelity = np.array([1.0, 0.4], np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(lq), torch.from_numpy(fidelity))
    names = [o.name for o in session.get_outputs()]
    differences = {}
    for name, value in zip(names, session.run(None, {"lq": lq, "fidelity": fidelity}), strict=True):
        differences[name] = float(np.abs(value - getattr(expected, name).numpy()).max())
    # `not <=` also catches numbers that are not finite.
    if any(not difference <= TOLERANCE for difference in differences.values()):
        raise CheckpointError(
            f"{graph} differs from torch by {differences}, allowed is {TOLERANCE}"
        )
    return differences


def main(argv: Sequence[str] | None = None) -> int:
    """`restore export MODEL [-o NAME.onnx] [--check]`; returns the exit code."""
    options = _parser().parse_args(argv)
    model = _find(options.model)
    output = None if options.output is None else Path(options.output)
    if not _is_ours(model):
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


def _find(model: str) -> Path:
    from restore.checkpoints.download import locate_model

    path = Path(model)
    return path if path.is_file() else locate_model(model)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:9] == b"{" and read_header(path).get("format") == FORMAT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("restore export", description=__doc__)
    parser.add_argument("model", help="model file, GFPGAN checkpoint, or the name of a model")
    parser.add_argument("-o", "--output", metavar="NAME.onnx", help="default: beside the model")
    parser.add_argument("--format", choices=["onnx"], default="onnx", help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="compare onnxruntime with torch")
    return parser
