"""The identity student as an ONNX graph over its safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from restore.errors import CheckpointError
from restore.runtime.graph import GraphBuilder

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "face", "embedding"


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
