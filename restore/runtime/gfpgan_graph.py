"""GFPGAN-family restorers as an ONNX graph: U-Net, shared-weight modulation, stored noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from restore.runtime.graph import GraphBuilder

TAPS = (1.0, 3.0, 3.0, 1.0)  # networks/stylegan2.py, BINOMIAL_TAPS
EPSILON = 1e-8  # networks/stylegan2.py


def build_gfpgan_graph(
    graph: GraphBuilder, arguments: Mapping[str, Any], lq: str, fidelity: str
) -> dict[str, str]:
    """Add a clean, bilinear or v1 restorer to `graph`; returns the value `image`.

    The dialect is in `arguments["resample"]`; counts and sizes are read from the weights.
    """
    fir = arguments.get("resample", "bilinear") == "fir"
    codes, features = _unet(graph, lq, fir)
    dial = graph.node("Unsqueeze", fidelity, graph.ints(1, 2, 3))
    softness = graph.node("Sub", graph.constant(1.0), dial)
    conditions = [_condition(graph, x, i, softness) for i, x in enumerate(features)]
    one = graph.unforeseen_one(fidelity)
    return {"image": _synthesis(graph, codes, conditions, fir, one)}


def _unet(g: GraphBuilder, lq: str, fir: bool) -> tuple[list[str], list[str]]:
    """Codes [n,w_dim] of each style, and the features at 8, 16, ... px."""
    count = g.count("encoder.down.{}.conv1.weight")
    x = g.leaky_relu(g.conv_of(lq, "encoder.first"))
    skips = []
    for i in range(count):
        x = _down_block(g, x, f"encoder.down.{i}", fir)
        skips.append(x)
    x = g.leaky_relu(g.conv_of(x, "encoder.bottom"))
    flat = g.node("Flatten", x, axis=1)
    codes = g.linear_of(flat, "encoder.to_codes")
    w_dim = g.shape("decoder.w_mean")[0]
    rows = g.shape("encoder.to_codes.weight")[0] // w_dim
    split = [codes] if rows == 1 else [
        g.slice(codes, i * w_dim, (i + 1) * w_dim, 1) for i in range(rows)
    ]  # fmt: skip
    features = []
    for i, skip in enumerate(reversed(skips)):
        x = _up_block(g, g.add(x, skip), f"encoder.up.{i}")
        features.append(x)
    return (split if rows > 1 else split * (2 * count + 2)), features


def _down_block(g: GraphBuilder, x: str, name: str, fir: bool) -> str:
    channels = g.shape(f"{name}.conv1.weight")[0]
    y = g.leaky_relu(g.conv_of(x, f"{name}.conv1"))
    if fir:
        y = _smooth(g, y, channels, pad=(2, 2))
        weight, bias = g.weight(f"{name}.conv2.weight"), g.weight(f"{name}.conv2.bias")
        y = g.conv(y, weight, bias, 3, stride=2, pads=[0] * 4)
        line = np.array(TAPS, np.float32) / 8
        kernel = _each_channel(g, np.outer(line, line), channels)
        halved = g.conv(x, kernel, kernel=4, stride=2, group=channels, pads=[1] * 4)
    else:
        y = g.conv_of(_halve(g, y), f"{name}.conv2")
        halved = _halve(g, x)
    return g.add(g.conv_of(halved, f"{name}.skip"), g.leaky_relu(y))


def _up_block(g: GraphBuilder, x: str, name: str) -> str:
    y = g.leaky_relu(g.conv_of(x, f"{name}.conv1"))
    y = g.leaky_relu(g.conv_of(g.enlarge(y, "linear"), f"{name}.conv2"))
    return g.add(y, g.enlarge(g.conv_of(x, f"{name}.skip"), "linear"))


def _halve(g: GraphBuilder, x: str) -> str:
    return g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])


def _each_channel(g: GraphBuilder, kernel: np.ndarray, channels: int) -> str:
    """[h,w] -> [channels,1,h,w], spread out when the graph is loaded."""
    shape = (channels, 1, *kernel.shape)
    return g.node("Expand", g.constant(kernel[None, None]), g.ints(*shape))


def _smooth(g: GraphBuilder, x: str, channels: int, pad: tuple[int, int], gain: float = 1.0) -> str:
    """`fir_smooth`: rows, then columns."""
    line = np.array(TAPS, np.float32) / 8 * math.sqrt(gain)
    first, last = pad
    for kernel, pads in (
        (line[None, :], [0, first, 0, last]),
        (line[:, None], [first, 0, last, 0]),
    ):
        x = g.node(
            "Conv",
            x,
            _each_channel(g, kernel, channels),
            kernel_shape=list(kernel.shape),
            pads=pads,
            group=channels,
        )
    return x


def _condition(g: GraphBuilder, x: str, index: int, softness: str) -> tuple[str, str]:
    """(scale, shift) of a level: m + (1 - f) (m - mean of 3x3), `sharpen_conditions`."""
    maps = []
    for kind in ("scale", "shift"):
        name = f"encoder.to_{kind}.{index}"
        value = g.conv_of(g.leaky_relu(g.conv_of(x, f"{name}.0")), f"{name}.2")
        mean = g.node("AveragePool", value, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=0)
        maps.append(g.add(value, g.mul(g.node("Sub", value, mean), softness)))
    return maps[0], maps[1]


def _synthesis(
    g: GraphBuilder, codes: list[str], conditions: list[tuple[str, str]], fir: bool, one: str
) -> str:
    x = _styled_conv(g, g.weight("decoder.constant"), codes[0], 0, None, one)
    image = _to_rgb(g, x, codes[1], 0)
    for level in range(1, g.count("decoder.to_rgbs.{}.bias")):
        i = 2 * level - 1
        x = _styled_conv(g, x, codes[i], i, "fir" if fir else "bilinear", one)
        x = _modulate(g, x, g.shape(f"decoder.convs.{i}.bias")[0], conditions[level - 1], level - 1)
        x = _styled_conv(g, x, codes[i + 1], i + 1, None, one)
        image = _enlarge_image(g, image, fir)
        image = g.add(image, _to_rgb(g, x, codes[i + 2], level))
    return image


def _modulate(
    g: GraphBuilder, x: str, channels: int, condition: tuple[str, str], index: int
) -> str:
    """`modulate_half`: the last channels, as many as there are maps, become x scale + shift."""
    scale, shift = condition
    kept = channels - g.shape(f"encoder.to_scale.{index}.2.bias")[0]
    if kept == 0:
        return g.add(g.mul(x, scale), shift)
    moved = g.add(g.mul(g.slice(x, kept, channels, 1), scale), shift)
    return g.node("Concat", g.slice(x, 0, kept, 1), moved, axis=1)


def _styled_conv(
    g: GraphBuilder, x: str, w: str, index: int, upsample: str | None, one: str
) -> str:
    """Scale inputs, convolve with shared weights, scale outputs; noise, bias, leaky ReLU."""
    name = f"decoder.convs.{index}"
    out = g.shape(f"{name}.conv.weight")[0]
    style, largest = _style(g, w, f"{name}.conv")
    gain = g.native(_demodulation(g, style, largest, f"{name}.conv.weight"))
    weight = g.weight(f"{name}.conv.weight")
    x = g.mul(x, g.to_map(g.native(style)))
    if upsample == "fir":
        turned = g.node("Transpose", weight, perm=[1, 0, 2, 3])
        x = g.node("ConvTranspose", x, turned, kernel_shape=[3, 3], strides=[2, 2])
        x = _smooth(g, x, out, pad=(1, 1), gain=4.0)
    else:
        x = g.enlarge(x, "linear") if upsample else x
        x = g.conv(x, weight)
    x = g.mul(x, g.to_map(gain))
    noise = g.mul(g.weight(f"decoder.noise_{index}"), g.weight(f"{name}.noise_strength"))
    bias = g.node("Reshape", g.weight(f"{name}.bias"), g.ints(1, out, 1, 1))
    return g.leaky_relu(g.add(g.add(x, g.mul(noise, one)), bias))


def _style(g: GraphBuilder, w: str, name: str) -> tuple[str, str | None]:
    """Style [n,c] in float32 and, in half precision, the largest magnitude it was divided by.

    As in `networks/stylegan2.py`: so nothing overflows, and what follows takes it back.
    """
    style = g.wide(g.linear_of(w, f"{name}.affine"))
    if not g.half:
        return style, None
    largest = g.node("ReduceMax", g.node("Abs", style), axes=[1], keepdims=1)
    return g.node("Div", style, largest), largest


def _demodulation(g: GraphBuilder, style: str, largest: str | None, name: str) -> str:
    """sqrt 2 / sqrt(sum of squared modulated weights + epsilon) [n,o], in float32."""
    weight = g.weight(name, wide=True)
    power = g.node("ReduceMean", g.mul(weight, weight), axes=[2, 3], keepdims=0)
    nine = g.constant(9.0, wide=True)  # the mean of 3x3 becomes the sum
    power = g.mul(g.node("Transpose", power, perm=[1, 0]), nine)
    epsilon = g.constant(EPSILON, wide=True)
    if largest is not None:
        epsilon = g.node("Div", epsilon, g.mul(largest, largest))
    total = g.add(g.node("MatMul", g.mul(style, style), power), epsilon)
    return g.node("Div", g.constant(math.sqrt(2), wide=True), g.node("Sqrt", total))


def _to_rgb(g: GraphBuilder, x: str, w: str, index: int) -> str:
    name = f"decoder.to_rgbs.{index}"
    style, largest = _style(g, w, f"{name}.conv")
    x = g.mul(x, g.to_map(g.native(style)))
    weight, bias = g.weight(f"{name}.conv.weight"), g.weight(f"{name}.bias")
    if largest is None:
        return g.conv(x, weight, bias, kernel=1)
    x = g.mul(g.conv(x, weight, kernel=1), g.to_map(g.native(largest)))
    return g.add(x, g.node("Reshape", bias, g.ints(1, 3, 1, 1)))


def _enlarge_image(g: GraphBuilder, image: str, fir: bool) -> str:
    if not fir:
        return g.enlarge(image, "linear")
    line = np.array(TAPS, np.float32) / 4
    return g.node(
        "ConvTranspose",
        image,
        _each_channel(g, np.outer(line, line), 3),
        kernel_shape=[4, 4],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        group=3,
    )
