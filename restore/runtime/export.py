"""`restore export`: the ONNX graph of a model, over the weights in its safetensors file."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restore.checkpoints.architectures import ARCHITECTURES
from restore.checkpoints.header import FORMAT, read_header
from restore.errors import CheckpointError, InputError
from restore.runtime.gfpgan_graph import build_gfpgan_graph
from restore.runtime.graph import GraphBuilder
from restore.runtime.mobile_graph import build_mobile_graph

TOLERANCE = 1e-3  # of the check, in the [-1,1] range of pixels
GraphFunction = Callable[[GraphBuilder, Mapping[str, Any], str, str], dict[str, str]]
GRAPHS: dict[str, GraphFunction] = {
    "mobile_restorer": build_mobile_graph,
    "gfpgan_clean": build_gfpgan_graph,
    "gfpgan_v1": build_gfpgan_graph,
}
_log = logging.getLogger(__name__)


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
    if architecture not in GRAPHS:
        raise CheckpointError(
            f"{model}: architecture {architecture!r} has no graph; these have: {', '.join(GRAPHS)}"
        )
    # What the name of an architecture fixes counts as an argument.
    arguments = {**header.get("arguments", {}), **ARCHITECTURES[architecture][2]}
    size = header.get("crop_size") or arguments.get("crop_size") or arguments.get("out_size", 512)
    graph = GraphBuilder(header["tensors"], model.name)
    outputs = GRAPHS[architecture](graph, arguments, "lq", "fidelity")
    text = f"{architecture}; weights in {model.name}; made by restore export"
    proto = graph.finish(size, outputs, text)
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        part.write_bytes(proto.SerializeToString())
        os.replace(part, output)
    finally:
        part.unlink(missing_ok=True)
    return output
