"""The identity student as an ONNX graph over its safetensors file, and its check against torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from restore.errors import CheckpointError
from restore.runtime.graph import GraphBuilder

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "face", "embedding"
TOLERANCE = 1e-4  # of an embedding's numbers, which have length 1 together


def build_identity_model(
    graph: GraphBuilder, arguments: Mapping[str, Any], documentation: str = ""
) -> onnx.ModelProto:
    """Input `face` float32 [n,3,112,96] RGB in [-1,1]; output `embedding` [n,d] of length 1.

    Reads files of folded students (`norm` false), as they are shipped; raises `CheckpointError`
    for others.
    """
    if arguments.get("norm"):
        raise CheckpointError("this identity student still has batch norms; export a shipped file")
    x = graph.node("Relu", graph.conv_of(INPUT, "stem.0", stride=2))
    for level in range(graph.count("down.{}.0.weight")):
        x = graph.node("Relu", graph.conv_of(x, f"down.{level}.0", stride=2))
        for block in range(graph.count(f"stages.{level}.{{}}.first.0.weight")):
            name = f"stages.{level}.{block}"
            inner = graph.node("Relu", graph.conv_of(x, f"{name}.first.0"))
            x = graph.node("Relu", graph.add(x, graph.conv_of(inner, f"{name}.second.0")))
    x = graph.node("Relu", graph.conv_of(x, "widen.0"))
    x = graph.mul(x, graph.weight("pool"))
    x = graph.node("ReduceSum", x, graph.ints(2, 3), keepdims=0)
    x = graph.node("LpNormalization", graph.linear_of(x, "project"), axis=1, p=2)
    dimensions = graph.shape("project.weight")[0]
    return graph.model({INPUT: ["n", 3, 112, 96]}, {OUTPUT: (x, ["n", dimensions])}, documentation)


def check_identity_graph(model: Path, graph: Path, seed: int = 0) -> dict[str, float]:
    """Largest difference between onnxruntime and torch on two random faces.

    Raises `CheckpointError` above `TOLERANCE`.
    """
    import onnxruntime
    import torch

    from restore.checkpoints.load import load_network

    faces = np.random.default_rng(seed).uniform(-1, 1, (2, 3, 112, 96)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        os.fspath(graph.resolve()), providers=["CPUExecutionProvider"]
    )
    with torch.inference_mode():
        expected = load_network(model)(torch.from_numpy(faces)).numpy()
    difference = float(np.abs(session.run([OUTPUT], {INPUT: faces})[0] - expected).max())
    if not difference <= TOLERANCE:
        raise CheckpointError(f"{graph} differs from torch by {difference}, allowed {TOLERANCE}")
    return {OUTPUT: difference}
