"""The cover network as an ONNX graph over its safetensors file, and its check against torch."""

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

INPUT, OUTPUT = "face", "cover"
TOLERANCE = 1e-3  # of logits


def build_cover_model(
    graph: GraphBuilder, arguments: Mapping[str, Any], documentation: str = ""
) -> onnx.ModelProto:
    """Input `face` float32 [n,3,64,64] RGB in [-1,1]; output `cover`, logits [n,1,16,16].

    Reads files without batch norms (`norm` false), as they are shipped; raises `CheckpointError`
    for others.
    """
    if arguments.get("norm"):
        raise CheckpointError("this cover network still has batch norms; export a shipped file")
    x = graph.node("Relu", graph.conv_of(INPUT, "stem.0", stride=2))
    levels = []
    for level in range(graph.count("down.{}.0.weight")):
        x = graph.node("Relu", graph.conv_of(x, f"down.{level}.0", stride=2))
        x = _block(graph, x, f"stages.{level}")
        levels.append(x)
    x = _block(graph, x, "middle")
    for step in range(graph.count("up.{}.0.weight")):
        x = graph.conv_of(x, f"up.{step}.0")
        x = graph.enlarge(x, "nearest")
        x = _block(graph, graph.add(x, levels[-2 - step]), f"merge.{step}")
    x = graph.conv_of(x, "cover")
    return graph.model({INPUT: ["n", 3, 64, 64]}, {OUTPUT: (x, ["n", 1, 16, 16])}, documentation)


def _block(graph: GraphBuilder, x: str, name: str) -> str:
    inner = graph.node("Relu", graph.conv_of(x, f"{name}.first.0"))
    return graph.node("Relu", graph.add(x, graph.conv_of(inner, f"{name}.second.0")))


def check_cover_graph(model: Path, graph: Path, seed: int = 0) -> dict[str, float]:
    """Largest difference between onnxruntime and torch on two random faces.

    Raises `CheckpointError` above `TOLERANCE`.
    """
    import onnxruntime
    import torch

    from restore.checkpoints.load import load_network

    faces = np.random.default_rng(seed).uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        os.fspath(graph.resolve()), providers=["CPUExecutionProvider"]
    )
    with torch.inference_mode():
        expected = load_network(model)(torch.from_numpy(faces)).numpy()
    difference = float(np.abs(session.run([OUTPUT], {INPUT: faces})[0] - expected).max())
    if not difference <= TOLERANCE:
        raise CheckpointError(f"{graph} differs from torch by {difference}, allowed {TOLERANCE}")
    return {OUTPUT: difference}
