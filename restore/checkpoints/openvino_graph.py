"""An OpenVINO graph read as data: layers, who feeds whom, constants; nothing is executed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError

DTYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32}


@dataclass(frozen=True)
class Node:
    """One layer: its kind, the ids of the layers that feed it in port order, its constant."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    value: NDArray[Any] | None


Graph = Mapping[str, Node]


def parse_graph(xml: bytes, weights: bytes, name: str) -> dict[str, Node]:
    """Id -> Node in the order of the file; `weights` is the .bin that the constants lie in.

    A document type declaration (entity expansion) is refused before the parser sees it. Raises
    CheckpointError, in which `name` stands for the files.
    """
    # any encoding but UTF-8 could hide the declaration from this search
    head = xml[:200].lower()
    foreign = xml.startswith((b"\xff\xfe", b"\xfe\xff")) or (
        b"encoding=" in head and b"utf-8" not in head
    )
    if foreign or b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise CheckpointError(
            f"{name}.xml declares a document type or an encoding; an OpenVINO graph has neither"
        )
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError) as error:
        raise CheckpointError(f"{name}.xml is not XML: {error}") from error
    layers, edges = root.find("layers"), root.find("edges")
    if root.tag != "net" or layers is None or edges is None:
        raise CheckpointError(f"{name}.xml is no OpenVINO graph (no <net> with layers and edges)")
    try:
        return _nodes(layers, edges, weights, name)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{name}.xml is damaged: {type(error).__name__} {error}") from error


def _nodes(
    layers: ElementTree.Element, edges: ElementTree.Element, weights: bytes, name: str
) -> dict[str, Node]:
    inputs: dict[str, dict[int, str]] = {}
    for edge in edges:
        ports = inputs.setdefault(edge.attrib["to-layer"], {})
        ports[int(edge.attrib["to-port"])] = edge.attrib["from-layer"]
    graph = {}
    for layer in layers:
        key = layer.attrib["id"]
        sources = tuple(node for _, node in sorted(inputs.get(key, {}).items()))
        value = _constant(layer, weights, name) if layer.attrib["type"] == "Const" else None
        graph[key] = Node(layer.attrib["type"], layer.attrib["name"], sources, value)
    unknown = {source for node in graph.values() for source in node.inputs} - set(graph)
    if unknown:
        raise CheckpointError(
            f"{name}.xml has edges from layers that are not there: {sorted(unknown)}"
        )
    return graph


def _constant(layer: ElementTree.Element, weights: bytes, name: str) -> NDArray[Any]:
    what = repr(layer.get("name"))
    data = layer.find("data")
    if data is None or data.get("element_type") not in DTYPES:
        raise CheckpointError(
            f"{name}.xml: constant {what} is of type "
            f"{None if data is None else data.get('element_type')}; expected {', '.join(DTYPES)}"
        )
    dtype = np.dtype(DTYPES[data.attrib["element_type"]])
    offset, size = int(data.attrib["offset"]), int(data.attrib["size"])
    shape = [int(n) for n in data.attrib["shape"].split(",") if n.strip()]
    if offset < 0 or size < 0 or min(shape, default=0) < 0:
        raise CheckpointError(f"{name}.xml: constant {what} lies at {offset}, {size} bytes {shape}")
    if offset + size > len(weights):
        raise CheckpointError(
            f"{name}.bin is truncated: {len(weights)} bytes, but {what} needs bytes {offset} to "
            f"{offset + size}; fetch it again"
        )
    if size != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(f"{name}.xml: constant {what} of {size} bytes does not fit {shape}")
    return np.frombuffer(weights, dtype, math.prod(shape), offset).reshape(shape)


def constants_of(graph: Graph, kind: str, ndim: int) -> list[NDArray[Any]]:
    """Float constants of `ndim` axes that feed layers of a kind, in the order of the file.

    Scalars are left out: they are factors, not weights.
    """
    found = [
        graph[source].value
        for node in graph.values()
        if node.kind == kind
        for source in node.inputs
    ]
    return [
        value
        for value in found
        if value is not None and value.ndim == ndim and value.dtype.kind == "f" and value.size > 1
    ]


def constant_named(graph: Graph, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The constant of this name and shape; CheckpointError where there is none."""
    for node in graph.values():
        if node.name == name and node.value is not None and node.value.shape == shape:
            return node.value
    raise CheckpointError(f"the graph has no constant {name!r} of shape {shape}")


def only_consumer(graph: Graph, key: str, kind: str) -> str:
    """Id of the one layer of a kind that `key` feeds; CheckpointError for none or several."""
    users = [k for k, node in graph.items() if key in node.inputs and node.kind == kind]
    if len(users) != 1:
        raise CheckpointError(
            f"layer {graph[key].name!r} feeds {len(users)} layers of kind {kind}, expected one"
        )
    return users[0]
