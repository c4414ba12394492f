"""MobileStyleGAN with conditions as an ONNX graph: `networks/mobile_stylegan.py`, same values.

Three things decide its speed, and none of them is arithmetic. Passes over the maps: a style that
follows another linear step is multiplied into the earlier style, and halves that are treated
differently stay apart until a convolution sums them. The inverse Haar step: one transposed
convolution in groups, so the features stay in the layout of the convolutions. The noise: runtimes
would add the bias to it at load and then read a constant as large as the features; multiplied by a
one that they cannot foresee it stays one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import gcd

import numpy as np

from restore.runtime.graph import GraphBuilder
from restore.runtime.graph_strips import Strip, strips_of

# Phases (0,0) (0,1) (1,0) (1,1) from LL, LH, HL, HH, twice; networks/mobile_stylegan.py
HAAR = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], np.float32)
GROUP = 16  # channels of an inverse Haar step that are one group: the width of the vector units
SLOPE = 0.2
RGB_BANDS = 12  # of the Haar transform of an RGB image
PARTS = ("weight", "bias")
Condition = Callable[[Strip], tuple[str, str]]
"""Rows of a level -> the values of (scale, shift) there."""


def num_styles_used(prior_channels: Sequence[int], crop_size: int) -> int:
    """How many leading codes an image of `crop_size` px depends on."""
    return 3 * [4 << i for i in range(len(prior_channels))].index(crop_size // 2) + 2


def add_synthesis(
    graph: GraphBuilder,
    prior_channels: Sequence[int],
    crop_size: int,
    codes: str,
    conditions: Mapping[int, Condition],
    one: str,
) -> str:
    """Add the generator; returns the value of the image [n,3,crop_size,crop_size].

    `codes` [n,k,w_dim]; `conditions`: by level in px; `one`: the graph's `unforeseen_one`.
    """
    return SynthesisSteps(graph, prior_channels, crop_size, codes, conditions, one).image()


class SynthesisSteps:
    """Steps of the generator over one graph; features are values of it."""

    def __init__(
        self,
        graph: GraphBuilder,
        prior_channels: Sequence[int],
        crop_size: int,
        codes: str,
        conditions: Mapping[int, Condition],
        one: str,
    ) -> None:
        self.g, self.channels, self.crop_size = graph, prior_channels, crop_size
        self.codes, self.conditions = codes, conditions
        self.one = one
        self.count = num_styles_used(prior_channels, crop_size) // 3 + 1  # levels, 4 px included

    def image(self) -> str:
        """The image of `crop_size` px, by the published last layer or the head of that size."""
        return self.through_levels(self.rows_of_image)

    def through_levels(self, last: Callable[[str, Strip], str]) -> str:
        """All levels but the last, then what `last` makes of their features, strip by strip."""
        g = self.g
        style = g.to_map(self.affine(0, "decoder.conv_4.affine"))
        x = g.mul(g.weight("decoder.const"), style)
        weight, bias = g.weight("decoder.conv_4.weight"), g.weight("decoder.conv_4.bias")
        order = self.next_order(0)
        weight, bias = self.ordered(weight, order), self.ordered(bias, order)
        x = self.activated(g.conv(x, weight, bias), "decoder.conv_4", Strip.whole(4))
        for i in range(1, self.count - 1):
            x = self.level(x, i, Strip.whole(4 << i))
        # The last level and the head have features larger than a cache.
        parts = [last(x, strip) for strip in strips_of(4 << (self.count - 1))]
        return parts[0] if len(parts) == 1 else g.node("Concat", *parts, axis=2)

    def level(self, x: str, i: int, strip: Strip) -> str:
        """Up, conv1, conditions, conv2: features [n,c,h,w] -> rows `strip` of [n,c',2h,2w]."""
        g, size = self.g, 4 << i
        name, channels = f"decoder.blocks.{size}", self.channels[i]
        inner = strip.wider()
        x = self.up(x, i, name, inner.wider())
        depthwise = g.weight(f"{name}.conv1.depthwise")
        group = self.channels[i - 1] // 4
        x = g.conv(x, depthwise, group=group, pads=inner.pads())
        style = g.to_map(self.affine(3 * i, f"{name}.conv2.affine"))
        pieces = [(0, channels)]
        if size in self.conditions:
            pieces = [(0, channels // 2), (channels // 2, channels)]
        sums = []
        for start, end in pieces:
            weight, bias = (g.weight(f"{name}.conv1.{part}") for part in ("pointwise", "bias"))
            if len(pieces) > 1:
                weight, bias = (g.slice(v, start, end, 0) for v in (weight, bias))
            part = self.activated(g.conv(x, weight, bias, 1), f"{name}.conv1", inner)
            if start > 0:
                scale, shift = self.conditions[size](inner)
                part = g.add(g.mul(part, scale), shift)
            sums.append(self.second(part, style, name, (start, end), i, strip))
        y = sums[0] if len(sums) == 1 else g.add(*sums)
        return self.activated(y, f"{name}.conv2", strip)

    def second(
        self, x: str, style: str, name: str, rows: tuple[int, int], i: int, strip: Strip
    ) -> str:
        """What channels `rows` of the features give to `conv2`, whose bias the first ones add."""
        g, (start, end) = self.g, rows
        depthwise, pointwise = g.weight(f"{name}.conv2.depthwise"), f"{name}.conv2.pointwise"
        weight = self.ordered(g.weight(pointwise), self.next_order(i))
        bias = self.ordered(g.weight(f"{name}.conv2.bias"), self.next_order(i))
        if end - start < self.channels[i]:
            style, weight = g.slice(style, start, end, 1), g.slice(weight, start, end, 1)
            depthwise = g.slice(depthwise, start, end, 0)
        x = g.conv(g.mul(x, style), depthwise, group=end - start, pads=strip.pads())
        return g.conv(x, weight, bias if start == 0 else None, kernel=1)

    def up(self, x: str, i: int, name: str, strip: Strip) -> str:
        """Rows `strip` of the inverse Haar of styled bands; its input is whole, in `band_order`.

        The style of `conv1` that comes next multiplies whole channels, so all four of their bands.
        """
        g, channels = self.g, self.channels[i - 1] // 4
        order = g.ints(*band_order(channels))
        bands = self.affine(3 * i - 2, f"{name}.up.affine", order, 0.5)
        whole = g.ints(*(band_order(channels, of_channels=True)))
        after = self.affine(3 * i - 1, f"{name}.conv1.affine", whole)
        x = g.mul(strip.source(g, x, 2), g.to_map(g.mul(bands, after)))
        group = gcd(GROUP, channels)
        taps = np.kron(HAAR.T, np.eye(group, dtype=np.float32))  # [4 group, 4 phases x group]
        taps = taps.reshape(4 * group, 2, 2, group).transpose(0, 3, 1, 2)
        kernel = g.constant(taps)
        repeats = channels // group
        if repeats > 1:
            kernel = g.node("Tile", kernel, g.ints(repeats, 1, 1, 1))
        return strip.enlarged(g, x, kernel, 2, group=repeats)

    def next_order(self, i: int) -> str | None:
        """Order of the channels that level `i` ends with: of bands where an up-sampling comes."""
        if i == self.count - 1:
            return None
        return self.g.ints(*band_order(self.channels[i] // 4))

    def ordered(self, value: str, order: str | None) -> str:
        return value if order is None else self.g.node("Gather", value, order, axis=0)

    def affine(self, index: int, name: str, order: str | None = None, gain: float = 1) -> str:
        """Style [n,c] from code `index`; `order` permutes its channels, `gain` multiplies it."""
        g = self.g
        weight, bias = (self.ordered(g.weight(f"{name}.{part}"), order) for part in PARTS)
        w = g.node("Gather", self.codes, g.constant(index, np.int64), axis=1)
        return g.node("Gemm", w, weight, bias, transB=1, alpha=float(gain), beta=float(gain))

    def activated(self, x: str, name: str, strip: Strip) -> str:
        """Noise and leaky ReLU on rows `strip`."""
        g = self.g
        noise = g.mul(strip.of(g, g.weight(f"{name}.noise")), self.one)
        return g.leaky_relu(g.add(x, noise), SLOPE)

    def rows_of_image(self, x: str, strip: Strip) -> str:
        """The last level and the head: the image over rows `strip` of that level."""
        last = self.count - 1
        if self.count == len(self.channels):
            return self.published_head(self.level(x, last, strip))
        return self.head(self.level(x, last, strip.wider()), strip)

    def published_head(self, x: str) -> str:
        """Features of full size to the image."""
        g, index = self.g, 3 * self.count - 2
        x = g.mul(x, g.to_map(self.affine(index, "decoder.to_rgb.affine")))
        weight, bias = (self.mixed(haar_of_rgb(), f"decoder.to_rgb.{part}") for part in PARTS)
        return g.node("DepthToSpace", g.conv(x, weight, bias, 1), blocksize=2)

    def head(self, x: str, strip: Strip) -> str:
        """Features of rows `strip.wider()` to the image of `strip`, by the head of its size."""
        g, index = self.g, 3 * self.count - 2
        # Bands become phases of pixels by a product that depends on nothing: part of the weights.
        haar = haar_of_rgb()
        name, channels = f"decoder.heads.{self.crop_size}", self.channels[self.count - 1]
        up = self.affine(index, f"decoder.blocks.{self.crop_size}.up.affine")
        style = g.mul(up, g.add(self.affine(index, f"{name}.gain"), g.constant(1.0)))
        depthwise = g.weight(f"{name}.depthwise")
        y = g.conv(g.mul(x, g.to_map(style)), depthwise, group=channels, pads=strip.pads())
        # The straight way goes along the curved one, to read y once: l = (lrelu(l) - lrelu(-l))/1.2
        straight = self.mixed(haar, f"{name}.weight")
        first = g.node(
            "Concat", g.weight(f"{name}.hidden"), straight, g.node("Neg", straight), axis=0
        )
        none = g.constant(np.zeros(2 * RGB_BANDS))
        bias = g.node("Concat", g.weight(f"{name}.hidden_bias"), none, axis=0)
        back = np.concatenate([np.eye(RGB_BANDS), -np.eye(RGB_BANDS)], 1) / (1 + SLOPE)
        branch = self.mixed(haar, f"{name}.branch")
        second = g.node("Concat", branch, g.constant(back[:, :, None, None]), axis=1)
        phases = g.conv(g.leaky_relu(g.conv(y, first, bias, 1), SLOPE), second, kernel=1)
        offset = g.node("MatMul", self.affine(index, f"{name}.offset"), g.constant(haar.T))
        return g.node("DepthToSpace", g.add(phases, g.to_map(offset)), blocksize=2)

    def mixed(self, matrix: np.ndarray, name: str) -> str:
        """`matrix` times a tensor [12,...] of the weights file, done at load."""
        g, shape = self.g, self.g.shape(name)
        flat = g.node("Reshape", g.weight(name), g.ints(shape[0], -1))
        mixed = g.node("MatMul", g.constant(matrix), flat)
        return g.node("Reshape", mixed, g.ints(*shape))


def band_order(channels: int, of_channels: bool = False) -> list[int]:
    """Bands of `channels` channels, group by group: LL, LH, HL, HH of the first 16, and so on.

    Entries are places in the public order (all LL, then LH, HL, HH of each channel); with
    `of_channels` the channel itself, four times.
    """
    group = gcd(GROUP, channels)
    order: list[int] = []
    for first in range(0, channels, group):
        inside = range(first, first + group)
        for band in range(4):
            if of_channels or band == 0:
                order += inside
            else:
                order += [channels + 3 * c + band - 1 for c in inside]
    return order


def haar_of_rgb() -> np.ndarray:
    """[12,12]: bands in the public order -> (phase, colour), the order of DepthToSpace."""
    matrix = np.zeros((RGB_BANDS, RGB_BANDS), np.float32)
    for colour in range(3):
        bands = [colour, *(3 + 3 * colour + band for band in range(3))]
        for phase in range(4):
            matrix[3 * phase + colour, bands] = HAAR[phase] / 2
    return matrix
