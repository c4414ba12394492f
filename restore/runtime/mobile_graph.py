"""The default architecture as an ONNX graph: `networks/unet_encoder.py`, arranged for runtimes.

What differs from the network is the order of work, never the values: convolutions of size 1 come
before the enlargement they commute with, channels are permuted in the weights rather than in the
features, a shuffle to pixels is a transposed convolution, and the fidelity dial enters as a
channel. What depends on weights alone is done once, at load. The encoder is here, the generator in
`mobile_synthesis_graph.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from restore.runtime.graph import GraphBuilder
from restore.runtime.graph_strips import Strip
from restore.runtime.mobile_synthesis_graph import Condition, add_synthesis, num_styles_used

FREE_CHANNELS = 8  # fidelity, one and zeros: a multiple of the blocks that runtimes work in


@dataclass(frozen=True)
class MobileArguments:
    """The arguments of `build_mobile_restorer` that shape the graph."""

    crop_size: int
    trunk_size: int
    trunk_channels: tuple[int, ...]
    condition_levels: tuple[int, ...]
    prior_channels: tuple[int, ...]


def build_mobile_graph(
    graph: GraphBuilder, arguments: Mapping[str, Any], lq: str, fidelity: str
) -> dict[str, str]:
    """Add the whole restorer to `graph`; returns the values `image` and `degradation`."""
    shape = _arguments(arguments)
    down, up = _trunk(graph, shape, lq)
    degradation = _degradation(graph, down)
    codes = _codes(graph, up[min(up)], num_styles_used(shape.prior_channels, shape.crop_size))
    free = _free_channels(graph, fidelity)
    conditions = {
        level: _condition(graph, level, up, degradation, fidelity, free)
        for level in shape.condition_levels
    }
    one = graph.unforeseen_one(fidelity)
    image = add_synthesis(graph, shape.prior_channels, shape.crop_size, codes, conditions, one)
    return {"image": image, "degradation": degradation}


def _arguments(arguments: Mapping[str, Any]) -> MobileArguments:
    from restore.networks.unet_encoder import build_mobile_restorer

    bound = signature(build_mobile_restorer).bind(**arguments)
    bound.apply_defaults()
    values = bound.arguments
    return MobileArguments(
        values["crop_size"],
        values["trunk_size"],
        tuple(values["trunk_channels"]),
        tuple(sorted(values["condition_levels"])),
        tuple(values["prior_channels"]),
    )


def _trunk(
    g: GraphBuilder, shape: MobileArguments, lq: str
) -> tuple[dict[int, str], dict[int, str]]:
    """Features by level, on the way down and on the way up."""
    trunk = "encoder.trunk"
    levels = [shape.trunk_size >> i for i in range(len(shape.trunk_channels))]
    stem, shuffle = g.weight(f"{trunk}.stem.weight"), shape.crop_size // shape.trunk_size
    x = lq
    if shuffle > 1:
        x = g.node("SpaceToDepth", x, blocksize=shuffle)
        # torch counts channels (colour, phase), SpaceToDepth (phase, colour).
        order = np.arange(3 * shuffle**2).reshape(3, -1).T.reshape(-1)
        stem = g.node("Gather", stem, g.ints(*order), axis=1)
    x = g.conv(x, stem, g.weight(f"{trunk}.stem.bias"))
    down: dict[int, str] = {}
    for i, level in enumerate(levels):
        if i:
            x = g.conv_of(g.leaky_relu(x), f"{trunk}.downs.{i - 1}", stride=2)
        down[level] = x = _residual(g, x, f"{trunk}.down_blocks.{i}")
    up = {levels[-1]: x}
    for i in reversed(range(len(levels) - 1)):
        x = g.enlarge(g.conv_of(x, f"{trunk}.ups.{i}"), "nearest")
        x = _residual(g, g.add(x, down[levels[i]]), f"{trunk}.up_blocks.{i}")
        up[levels[i]] = x
    return down, up


def _residual(g: GraphBuilder, x: str, name: str) -> str:
    inner = g.leaky_relu(g.conv_of(g.leaky_relu(x), f"{name}.conv1"))
    return g.add(g.conv_of(inner, f"{name}.conv2"), x)


def _degradation(g: GraphBuilder, down: Mapping[int, str]) -> str:
    """Estimates [n,6] from mean and log variance of the features, whose range needs float32."""
    pooled = []
    least = g.constant(1e-4, wide=True)
    for features in down.values():
        x = g.wide(features)
        mean = g.node("ReduceMean", x, axes=[2, 3], keepdims=0)
        power = g.node("ReduceMean", g.mul(x, x), axes=[2, 3], keepdims=0)
        variance = g.add(g.node("Sub", power, g.mul(mean, mean)), least)
        pooled += [mean, g.node("Log", g.node("Max", variance, least))]
    x = g.native(g.node("Concat", *pooled, axis=1))
    x = g.linear_of(x, "encoder.degradation_head.hidden")
    return g.linear_of(g.leaky_relu(x), "encoder.degradation_head.out")


def _codes(g: GraphBuilder, features: str, count: int) -> str:
    """Codes [n,count,w_dim] of the first `count` styles, all from one product."""
    name = "encoder.code_head"
    flat = g.node("Flatten", g.leaky_relu(features), axis=1)
    hidden = g.leaky_relu(g.linear_of(flat, f"{name}.hidden"))
    rank, w_dim = g.shape(f"{name}.basis")
    weight = g.slice(g.weight(f"{name}.each.weight"), 0, count * rank, 0)
    bias = g.slice(g.weight(f"{name}.each.bias"), 0, count * rank, 0)
    own = g.node("Gemm", hidden, weight, bias, transB=1)
    own = g.node("Reshape", own, g.ints(-1, count, rank))
    shared = g.node("Unsqueeze", g.linear_of(hidden, f"{name}.shared"), g.ints(1))
    on_basis = g.node("Reshape", g.add(own, shared), g.ints(-1, rank))
    codes = g.node("Gemm", on_basis, g.weight(f"{name}.basis"), g.weight(f"{name}.w_mean"))
    return g.node("Reshape", codes, g.ints(-1, count, w_dim))


def _free_channels(g: GraphBuilder, fidelity: str) -> str:
    """[n,8]: fidelity, 1, zeros."""
    first, second = np.eye(2, FREE_CHANNELS, dtype=np.float32)
    column = g.node("Unsqueeze", fidelity, g.ints(1))
    return g.add(g.mul(column, g.constant(first[None])), g.constant(second[None]))


def _condition(
    g: GraphBuilder,
    level: int,
    up: Mapping[int, str],
    degradation: str,
    fidelity: str,
    free: str,
) -> Condition:
    """(scale, shift) of rows of a level, blended with the identity by `fidelity`.

    With maps W h + b, scale is 1 + f (W h + b): W (f h) + b f + 1, so f h, f and 1 are the
    channels of one convolution and no further pass over the maps is needed.
    """
    name = f"encoder.condition_heads.{level}"
    source = min(level, max(up))
    times = level // source
    gate = g.linear_of(degradation, f"{name}.gate.hidden")
    gate = g.linear_of(g.leaky_relu(gate), f"{name}.gate.gain")
    column = g.node("Unsqueeze", fidelity, g.ints(1))
    gain = g.to_map(g.mul(g.add(gate, g.constant(1.0)), column))
    h = g.mul(g.leaky_relu(g.conv_of(up[source], f"{name}.conv")), gain)
    spread = g.node("Expand", g.to_map(free), g.ints(1, FREE_CHANNELS, source, source))
    h = g.node("Concat", h, spread, axis=1)
    rows = g.shape(f"{name}.maps.weight")[0] // 2
    weight, bias = g.weight(f"{name}.maps.weight"), g.weight(f"{name}.maps.bias")
    bias = g.node("Reshape", bias, g.ints(2 * rows, 1, 1, 1))
    zero, one = (g.constant(np.full((1, 1, 1, 1), value)) for value in (0, 1))
    kernel = g.node("Concat", weight, bias, axis=1)
    rest = g.node("Expand", zero, g.ints(rows, FREE_CHANNELS - 2, 1, 1))
    kernels = []
    for half, start in enumerate((one, zero)):
        own = g.slice(kernel, half * rows, (half + 1) * rows, 0)
        start = g.node("Expand", start, g.ints(rows, 1, 1, 1))
        kernels.append(g.node("Concat", own, start, rest, axis=1))

    def maps(strip: Strip) -> tuple[str, str]:
        source = strip.source(g, h, times)
        scale, shift = (_shuffled(g, source, kernel, rows, times, strip) for kernel in kernels)
        return scale, shift

    return maps


def _shuffled(g: GraphBuilder, x: str, kernel: str, rows: int, times: int, strip: Strip) -> str:
    """1x1 convolution with [rows,c,1,1], then `pixel_shuffle`: as one transposed convolution.

    From the rows below `strip` to its own.
    """
    if times == 1:
        return g.conv(x, kernel, kernel=1)
    # Row (channel, phase) of the kernel is its tap `phase` for that channel.
    kernel = g.node("Reshape", kernel, g.ints(rows // times**2, times, times, -1))
    kernel = g.node("Transpose", kernel, perm=[3, 0, 1, 2])
    return strip.enlarged(g, x, kernel, times)
