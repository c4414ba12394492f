"""A checkpoint as a graph in memory that holds its own weights: nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.checkpoints.architectures import ARCHITECTURES
from restore.config.graph_layout import places_of_arrays, read_array, tensor_places
from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError
from restore.runtime.graph import GraphBuilder
from restore.runtime.model_info import ModelInfo, model_info, read_model_info, row_of_file

if TYPE_CHECKING:
    import onnx


def build_graph(
    graph: GraphBuilder, architecture: str, arguments: Mapping[str, Any], text: str
) -> onnx.ModelProto:
    """The graph that the architecture's row of the table makes.

    Of a restorer: inputs `lq` and `fidelity`, outputs `image` and perhaps `degradation`. Raises
    `CheckpointError` for an architecture that has no graph.
    """
    row = ARCHITECTURES.get(architecture)
    if row is None or row.exporter is None:
        known = ", ".join(name for name, row in ARCHITECTURES.items() if row.exporter)
        raise CheckpointError(f"architecture {architecture!r} has no graph; these have: {known}")
    # What the name of an architecture fixes counts as an argument.
    arguments, text = {**arguments, **row.fixed}, f"{architecture}; {text}"
    if row.crop_size is None:
        made: onnx.ModelProto = row.function(row.exporter)(graph, arguments, text)
        return made
    inputs = graph.native("lq"), graph.native("fidelity")
    outputs = row.function(row.exporter)(graph, arguments, *inputs)
    return graph.finish(arguments.get(row.crop_size, 512), outputs, text)


def checkpoint_graph(path: Path, precision: str = "fp32") -> tuple[ModelInfo, onnx.ModelProto]:
    """The graph of a model file of ours or of a GFPGAN-family checkpoint (needs torch).

    `precision`: one of `restore.runtime.graph.PRECISIONS`. Raises `CheckpointError`.
    """
    text = f"weights of {path.name}, {precision}; made by restore export"
    if is_ours(path):
        info, places = read_model_info(path), tensor_places(path)
        graph = GraphBuilder(places, path.name, partial(read_array, path), precision)
        name, arguments = info.header.get("architecture"), info.header.get("arguments", {})
        return info, build_graph(graph, str(name), arguments, text)
    network = load_restorer_checkpoint(path)
    detection = network.detection
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    graph = GraphBuilder(places_of_arrays(arrays), path.name, arrays.__getitem__, precision)
    info = model_info({"crop_size": network.decoder.out_size, **row_of_file(path)}, str(path))
    return info, build_graph(graph, detection.architecture, detection.arguments, text)


def load_restorer_checkpoint(path: Path) -> Any:
    """The restorer of a foreign checkpoint, with what was detected in `detection`."""
    from restore.checkpoints.load import load_network

    row = row_of_file(path)
    network = load_network(path, resample=row.get("resample"))
    detection = getattr(network, "detection", None)
    if detection is None or ARCHITECTURES[detection.architecture].crop_size is None:
        found = "a model file of ours" if detection is None else detection.family
        raise CheckpointError(f"{path} is {found}; only GFPGAN-family restorers are imported")
    return network


def is_ours(path: Path) -> bool:
    """Whether a file is a model file of ours, by its first bytes and header."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:9] == b"{" and read_header(path).get("format") == FORMAT
