"""A checkpoint as a graph in memory that holds its own weights: nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restore.checkpoints.architectures import ARCHITECTURES
from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError
from restore.runtime.gfpgan_graph import build_gfpgan_graph
from restore.runtime.graph import GraphBuilder
from restore.runtime.mobile_graph import build_mobile_graph
from restore.runtime.model_info import ModelInfo, model_info, read_model_info, row_of_file

if TYPE_CHECKING:
    import onnx

GRAPHS = {
    "mobile_restorer": build_mobile_graph,
    "gfpgan_clean": build_gfpgan_graph,
    "gfpgan_v1": build_gfpgan_graph,
}


def build_graph(
    graph: GraphBuilder, architecture: str, arguments: Mapping[str, Any], text: str
) -> onnx.ModelProto:
    """A restorer's graph: inputs `lq` and `fidelity`, outputs `image` and perhaps `degradation`.

    Raises `CheckpointError` for an architecture that has no graph.
    """
    if architecture not in GRAPHS:
        raise CheckpointError(
            f"architecture {architecture!r} has no graph; these have: {', '.join(GRAPHS)}"
        )
    # What the name of an architecture fixes counts as an argument.
    arguments = {**arguments, **ARCHITECTURES[architecture][2]}
    size = arguments.get("crop_size") or arguments.get("out_size", 512)
    inputs = graph.native("lq"), graph.native("fidelity")
    outputs = GRAPHS[architecture](graph, arguments, *inputs)
    return graph.finish(size, outputs, f"{architecture}; {text}")


def checkpoint_graph(path: Path, precision: str = "fp32") -> tuple[ModelInfo, onnx.ModelProto]:
    """The graph of a model file of ours or of a GFPGAN-family checkpoint (needs torch).

    `precision`: one of `restore.runtime.graph.PRECISIONS`. Raises `CheckpointError`.
    """
    text = f"weights of {path.name}, {precision}; made by restore export"
    if is_ours(path):
        from safetensors import safe_open

        info = read_model_info(path)
        with safe_open(path, framework="np") as file:
            graph = GraphBuilder(info.header["tensors"], path.name, file.get_tensor, precision)
            name, arguments = info.header.get("architecture"), info.header.get("arguments", {})
            return info, build_graph(graph, str(name), arguments, text)
    network = load_restorer_checkpoint(path)
    detection = network.detection
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    tensors = {
        name: {"dtype": "F32", "shape": list(array.shape), "offset": 0}
        for name, array in arrays.items()
    }

    def read(name: str) -> np.ndarray:
        return arrays[name]

    graph = GraphBuilder(tensors, path.name, read, precision)
    info = model_info({"crop_size": network.decoder.out_size, **row_of_file(path)}, str(path))
    return info, build_graph(graph, detection.architecture, detection.arguments, text)


def load_restorer_checkpoint(path: Path) -> Any:
    """The network of a GFPGAN-family checkpoint, with what was detected in `detection`."""
    from restore.checkpoints.load import load_network

    row = row_of_file(path)
    network = load_network(path, resample=row.get("resample"))
    detection = getattr(network, "detection", None)
    if detection is None or detection.architecture not in GRAPHS:
        found = "a model file of ours" if detection is None else detection.family
        raise CheckpointError(f"{path} is {found}; only GFPGAN-family restorers are imported")
    return network


def is_ours(path: Path) -> bool:
    """Whether a file is a model file of ours, by its first bytes and header."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:9] == b"{" and read_header(path).get("format") == FORMAT
