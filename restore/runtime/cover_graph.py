"""The cover network as an ONNX graph over its safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from restore.errors import CheckpointError
from restore.runtime.graph import GraphBuilder

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "face", "cover"


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
