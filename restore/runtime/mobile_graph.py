"""The default architecture as an ONNX graph: `networks/mobile_restorer.py`, arranged for runtimes.

What differs from the network is the order of work, never the values: convolutions of size 1 come
before the enlargement they commute with, channels are permuted in the weights rather than in the
features, halves that are treated differently come from halves of the weights, and the fidelity
dial enters as a channel. Everything that depends on weights alone is done once, at load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np

from restore.runtime.graph import GraphBuilder

FREE_CHANNELS = 8  # fidelity, one and zeros: a multiple of the blocks that runtimes work in
# Phases (0,0) (0,1) (1,0) (1,1) from LL, LH, HL, HH; networks/haar.py
HAAR = ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))


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
    styles_at = _codes(graph, up[min(up)])
    free = _free_channels(graph, fidelity)
    conditions = {
        level: _condition(graph, level, up, degradation, fidelity, free)
        for level in shape.condition_levels
    }
    image = _synthesis(graph, shape, styles_at, conditions)
    return {"image": image, "degradation": degradation}


def _arguments(arguments: Mapping[str, Any]) -> MobileArguments:
    from restore.networks.mobile_restorer import build_mobile_restorer

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
    pooled = []
    for x in down.values():
        mean = g.node("ReduceMean", x, axes=[2, 3], keepdims=0)
        power = g.node("ReduceMean", g.mul(x, x), axes=[2, 3], keepdims=0)
        variance = g.add(g.node("Sub", power, g.mul(mean, mean)), g.constant(1e-4))
        pooled += [mean, g.node("Log", g.node("Max", variance, g.constant(1e-4)))]
    x = g.linear_of(g.node("Concat", *pooled, axis=1), "encoder.degradation_head.hidden")
    return g.linear_of(g.leaky_relu(x), "encoder.degradation_head.out")


class _Codes:
    """Codes w [n,w_dim] by style index, each computed when it is first asked for."""

    def __init__(self, g: GraphBuilder, hidden: str) -> None:
        self._g, self._hidden = g, hidden
        self._shared = g.linear_of(hidden, "encoder.code_head.shared")
        self._rank = g.shape("encoder.code_head.basis")[0]
        self._done: dict[int, str] = {}

    def __getitem__(self, index: int) -> str:
        if index not in self._done:
            g, name, rank = self._g, "encoder.code_head", self._rank
            rows = (index * rank, (index + 1) * rank, 0)
            weight = g.slice(g.weight(f"{name}.each.weight"), *rows)
            bias = g.slice(g.weight(f"{name}.each.bias"), *rows)
            own = g.node("Gemm", self._hidden, weight, bias, transB=1)
            on_basis = (g.add(own, self._shared), g.weight(f"{name}.basis"))
            self._done[index] = g.node("Gemm", *on_basis, g.weight(f"{name}.w_mean"))
        return self._done[index]


def _codes(g: GraphBuilder, features: str) -> _Codes:
    flat = g.node("Flatten", g.leaky_relu(features), axis=1)
    return _Codes(g, g.leaky_relu(g.linear_of(flat, "encoder.code_head.hidden")))


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
) -> tuple[str, str]:
    """(scale, shift) of a level, blended with the identity by `fidelity`.

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
    one = g.constant(np.ones((1, 1, 1, 1)))
    maps = []
    for half, start in enumerate((one, g.constant(np.zeros((1, 1, 1, 1))))):
        # Rows (channel, phase) become (phase, channel), the order of DepthToSpace.
        order = half * rows + np.arange(rows).reshape(-1, times**2).T.reshape(-1)
        kernel = g.node("Concat", weight, bias, axis=1)
        kernel = g.node("Gather", kernel, g.ints(*order), axis=0) if times > 1 else g.slice(
            kernel, half * rows, (half + 1) * rows, 0
        )  # fmt: skip
        start = g.node("Expand", start, g.ints(rows, 1, 1, 1))
        rest = g.node(
            "Expand",
            g.constant(np.zeros((1, 1, 1, 1))),
            g.ints(rows, FREE_CHANNELS - 2, 1, 1),
        )
        kernel = g.node("Concat", kernel, start, rest, axis=1)
        value = g.conv(h, kernel, kernel=1)
        maps.append(g.node("DepthToSpace", value, blocksize=times) if times > 1 else value)
    return maps[0], maps[1]


def _affine(g: GraphBuilder, w: str, name: str, order: str | None = None, gain: float = 1) -> str:
    """Style [n,c] of a code; `order` permutes its channels, `gain` multiplies it."""
    weight, bias = g.weight(f"{name}.weight"), g.weight(f"{name}.bias")
    if order is not None:
        weight, bias = (g.node("Gather", v, order, axis=0) for v in (weight, bias))
    return g.node("Gemm", w, weight, bias, transB=1, alpha=float(gain), beta=float(gain))


def _band_order(g: GraphBuilder, channels: int) -> str:
    """Order that turns LL.., (LH, HL, HH).. into LL.., LH.., HL.., HH.."""
    c = channels // 4
    return g.ints(*range(c), *(c + 3 * i + band for band in range(3) for i in range(c)))


def _inverse_haar(g: GraphBuilder, x: str, channels: int, size: int) -> str:
    """Bands [n,4c,h,w], band by band and halved already, to [n,c,2h,2w]: one small product."""
    flat = g.node("Reshape", x, g.ints(0, 4, channels // 4 * size * size))
    phases = g.node("MatMul", g.constant(HAAR), flat)
    phases = g.node("Reshape", phases, g.ints(0, channels, size, size))
    return g.node("DepthToSpace", phases, blocksize=2)


def _synthesis(
    g: GraphBuilder,
    shape: MobileArguments,
    codes: _Codes,
    conditions: Mapping[int, tuple[str, str]],
) -> str:
    sizes = [4 << i for i in range(len(shape.prior_channels))]
    last = shape.crop_size // 2
    count = sizes.index(last) + 1
    style = g.to_map(_affine(g, codes[0], "decoder.conv_4.affine"))
    x = g.mul(g.weight("decoder.const"), style)
    order = _band_order(g, shape.prior_channels[0]) if count > 1 else None
    x = _finish_conv(g, x, "decoder.conv_4", "weight", 3, order)
    for i in range(1, count):
        name, size = f"decoder.blocks.{sizes[i]}", sizes[i]
        before, channels = shape.prior_channels[i - 1], shape.prior_channels[i]
        first = 3 * i - 2
        up = _affine(g, codes[first], f"{name}.up.affine", _band_order(g, before), 0.5)
        x = _inverse_haar(g, g.mul(x, g.to_map(up)), before, size // 2)
        x = _depthwise(g, x, codes[first + 1], f"{name}.conv1", before // 4)
        if size in conditions:
            kept, moved = (
                _finish_conv(g, x, f"{name}.conv1", "pointwise", 1, None, rows)
                for rows in ((0, channels // 2), (channels // 2, channels))
            )
            scale, shift = conditions[size]
            x = g.node("Concat", kept, g.add(g.mul(moved, scale), shift), axis=1)
        else:
            x = _finish_conv(g, x, f"{name}.conv1", "pointwise", 1)
        x = _depthwise(g, x, codes[first + 2], f"{name}.conv2", channels)
        order = _band_order(g, channels) if i < count - 1 else None
        x = _finish_conv(g, x, f"{name}.conv2", "pointwise", 1, order)
    channels = shape.prior_channels[count - 1]
    w = codes[3 * count - 2]
    if count == len(sizes):
        return _full_head(g, x, w, last)
    return _size_head(g, shape, x, w, channels, last)


def _depthwise(g: GraphBuilder, x: str, w: str, name: str, channels: int) -> str:
    style = g.to_map(_affine(g, w, f"{name}.affine"))
    return g.conv(g.mul(x, style), g.weight(f"{name}.depthwise"), group=channels)


def _finish_conv(
    g: GraphBuilder,
    x: str,
    name: str,
    kind: str,
    kernel: int,
    order: str | None = None,
    rows: tuple[int, int] | None = None,
) -> str:
    """Convolution (all outputs in an order, or some rows), noise, bias, leaky ReLU."""
    weight, bias = g.weight(f"{name}.{kind}"), g.weight(f"{name}.bias")
    if order is not None:
        weight, bias = (g.node("Gather", v, order, axis=0) for v in (weight, bias))
    if rows is not None:
        weight, bias = (g.slice(v, *rows, 0) for v in (weight, bias))
    x = g.conv(x, weight, bias, kernel)
    return g.leaky_relu(g.add(x, g.weight(f"{name}.noise")))


def _full_head(g: GraphBuilder, x: str, w: str, size: int) -> str:
    """`ToRGB`: the published head at the generator's full size."""
    order, half = _band_order(g, 12), g.constant(0.5)
    x = g.mul(x, g.to_map(_affine(g, w, "decoder.to_rgb.affine")))
    weight, bias = (
        g.mul(g.node("Gather", g.weight(f"decoder.to_rgb.{part}"), order, axis=0), half)
        for part in ("weight", "bias")
    )
    return _inverse_haar(g, g.conv(x, weight, bias, 1), 12, size)


def _size_head(
    g: GraphBuilder, shape: MobileArguments, x: str, w: str, channels: int, size: int
) -> str:
    """`SizeHead`: styled features to sub-bands, by a linear and a curved way."""
    name = f"decoder.heads.{shape.crop_size}"
    order, half = _band_order(g, 12), g.constant(0.5)
    up = _affine(g, w, f"decoder.blocks.{shape.crop_size}.up.affine")
    style = g.mul(up, g.add(_affine(g, w, f"{name}.gain"), g.constant(1.0)))
    y = g.mul(x, g.to_map(style))
    y = g.conv(y, g.weight(f"{name}.depthwise"), group=channels)
    hidden = g.conv(y, g.weight(f"{name}.hidden"), g.weight(f"{name}.hidden_bias"), 1)
    linear, branch = (
        g.mul(g.node("Gather", g.weight(f"{name}.{part}"), order, axis=0), half)
        for part in ("weight", "branch")
    )
    bands = g.add(g.conv(y, linear, kernel=1), g.conv(g.leaky_relu(hidden), branch, kernel=1))
    offset = g.to_map(_affine(g, w, f"{name}.offset", order, 0.5))
    return _inverse_haar(g, g.add(bands, offset), 12, size)
