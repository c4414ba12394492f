"""The default restorer and its prior arranged for CPU runtimes: same parameters, same values.

Three things decide the speed, and none of them is arithmetic. Passes over the maps: a style that
follows another linear step is multiplied into the earlier style, halves that are treated
differently stay apart until a convolution sums them, and the fidelity dial enters as a channel.
The inverse Haar step and the shuffles to pixels: transposed convolutions, so that features stay in
the layout of the convolutions; channels are permuted in the weights, never in the features. The
noise: runtimes would add the bias to it at load and then read a constant as large as the features;
multiplied by a one that they cannot foresee it stays one channel. What depends on weights alone is
done once, when a runtime loads the exported graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.mobile_stylegan import (
    SLOPE,
    Affine,
    Level,
    MobileStyleGAN,
    PriorHeads,
    SeparableStyledConv,
    StyledConv,
    later_styles,
)
from restore.networks.prior_restorer import PriorRestorer, Restored
from restore.networks.stylegan2 import StyleGAN2Generator
from restore.networks.unet_encoder import ConditionHead, DegradationAwareEncoder

# 32 rows of 256 px: 6 MB where 192 channels come in and go out; the whole map has 50. On two cores
# with 32 MB of cache 1x1 convolutions then run at twice the rate; 64 rows gain a little less, 16 no
# more, since each strip computes three rows again on either side.
STRIP_PIXELS = 8192
GROUP = 16  # channels of an inverse Haar step that are one group: the width of the vector units
FREE_CHANNELS = 8  # fidelity, one and zeros: a multiple of the blocks that runtimes work in
# Phases (0,0) (0,1) (1,0) (1,1) of a pixel from LL, LH, HL, HH; networks/mobile_stylegan.py
HAAR = ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))


@dataclass(frozen=True)
class Strip:
    """Rows [start, end) of square maps of `size` px, worked through by themselves."""

    start: int
    end: int
    size: int

    @classmethod
    def whole(cls, size: int) -> Strip:
        """All rows."""
        return cls(0, size, size)

    def wider(self) -> Strip:
        """The rows that a 3x3 convolution reads for these."""
        return Strip(max(self.start - 1, 0), min(self.end + 1, self.size), self.size)

    def below(self, times: int) -> Strip:
        """The rows of a map `times` smaller that these lie over."""
        return Strip(self.start // times, -(-self.end // times), self.size // times)

    def of(self, x: Tensor) -> Tensor:
        """These rows of a whole map [n,c,h,w]."""
        return x if self == Strip.whole(self.size) else x[:, :, self.start : self.end]

    def conv(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        """3x3 convolution from rows `wider()` to these; zeros only where the map itself ends."""
        pads = (1, 1, int(self.start == 0), int(self.end == self.size))
        return F.conv2d(F.pad(x, pads), weight, groups=groups)

    def enlarged(self, x: Tensor, kernel: Tensor, times: int, groups: int = 1) -> Tensor:
        """Transposed convolution of rows `below(times)` to these."""
        first = self.start - self.below(times).start * times
        y = F.conv_transpose2d(x, kernel, stride=times, groups=groups)
        height = self.end - self.start
        return y if y.shape[2] == height else y[:, :, first : first + height]


def strips_of(size: int) -> list[Strip]:
    """A map in strips of at most `STRIP_PIXELS` pixels."""
    rows = max(STRIP_PIXELS // size, 1)
    return [Strip(y, min(y + rows, size), size) for y in range(0, size, rows)]


Condition = Callable[[Strip], tuple[Tensor, Tensor]]
"""Rows of a level -> (scale, shift) there."""


class FastRestorer(nn.Module):
    """`forward(lq [n,3,s,s], fidelity [n] in [0,1]) -> (image [n,3,s,s], degradation [n,6])`.

    What `network`, of `build_mobile_restorer`, gives for crops of `crop_size` px. float32 in and
    out; computes in the dtype of the parameters.
    """

    def __init__(self, network: PriorRestorer, crop_size: int) -> None:
        super().__init__()
        self.network, self.crop_size = network, crop_size

    def forward(self, lq: Tensor, fidelity: Tensor) -> tuple[Tensor, Tensor]:
        encoder = cast(DegradationAwareEncoder, self.network.encoder)
        decoder = cast(MobileStyleGAN, self.network.decoder)
        lq, fidelity = lq.to(decoder.const.dtype), fidelity.to(decoder.const.dtype)
        down, up = encoder.trunk(lq)
        degradation = encoder.degradation_head(down)
        codes = encoder.code_head(up[min(up)], decoder.num_styles_for(self.crop_size))
        conditions = {}
        for level, head in encoder.condition_heads.items():
            source = min(int(level), max(up))
            conditions[int(level)] = _condition(
                cast(ConditionHead, head), up[source], degradation, fidelity, source
            )
        steps = Synthesis(decoder, codes, conditions, unforeseen_one(fidelity))
        return steps.image(self.crop_size).float(), degradation.float()


class DialledRestorer(nn.Module):
    """`forward(lq [n,3,s,s], fidelity [n]) -> image`: a GFPGAN as it is, but for its noise."""

    def __init__(self, network: PriorRestorer) -> None:
        super().__init__()
        self.network = network

    def forward(self, lq: Tensor, fidelity: Tensor) -> Tensor:
        decoder = cast(StyleGAN2Generator, self.network.decoder)
        lq, fidelity = lq.to(decoder.constant.dtype), fidelity.to(decoder.constant.dtype)
        one = unforeseen_one(fidelity)
        strengths = {
            name: value * one
            for name, value in self.network.named_parameters()
            if name.endswith("noise_strength")
        }
        restored: Restored = torch.func.functional_call(self.network, strengths, (lq, fidelity))
        return restored.image.float()


class FastPrior(nn.Module):
    """`forward(w_plus [n,k,w_dim], fidelity [n]) -> image [n,3,size,size]`; the dial is idle.

    `size`: one that `generator` or `heads` gives; ValueError for others.
    """

    def __init__(
        self, generator: MobileStyleGAN, size: int, heads: PriorHeads | None = None
    ) -> None:
        super().__init__()
        self.network, self.size = generator, size
        self.head = heads.heads[str(size)] if heads is not None and size in heads.sizes else None
        if self.head is None and size not in generator.sizes:
            raise ValueError(
                f"found {size} px, expected one of {generator.sizes}, or a head for it"
            )

    def forward(self, w_plus: Tensor, fidelity: Tensor) -> Tensor:
        one = unforeseen_one(fidelity)
        steps = Synthesis(self.network, w_plus, {}, one)
        if self.head is None:
            return steps.image(self.size)
        x = steps.through_levels(self.size, steps.rows_of_level)
        affines = self.network.affines
        later = range(later_styles(self.network, self.size), len(affines))
        noise = {name: value * one for name, value in self.head.named_buffers()}
        styles = [affines[i](w_plus[:, i]) for i in later]
        image: Tensor = torch.func.functional_call(self.head, noise, (x, styles))
        return image


def unforeseen_one(fidelity: Tensor) -> Tensor:
    """Ones [n,1,1,1], from an input [n] in [0,1]: a runtime cannot fold what they multiply."""
    above = fidelity + 1
    return (above / above)[:, None, None, None]


def _condition(
    head: ConditionHead, features: Tensor, degradation: Tensor, fidelity: Tensor, size: int
) -> Condition:
    """`ConditionHead` and `blend_conditions` for rows of a level; `size` of the features in px.

    With maps W h + b, scale is 1 + f (W h + b): W (f h) + b f + 1, so f h, f and 1 are the
    channels of one convolution and no further pass over the maps is needed.
    """
    gain = head.gate(degradation) * fidelity[:, None]
    h = F.leaky_relu(head.conv(features), SLOPE) * gain[:, :, None, None]
    first = torch.tensor([1.0] + [0.0] * (FREE_CHANNELS - 1), dtype=h.dtype)
    free = fidelity[:, None] * first + first.roll(1)
    h = torch.cat([h, free[:, :, None, None].expand(-1, -1, size, size)], 1)
    rows = head.maps.weight.shape[0] // 2
    kernel = torch.cat([head.maps.weight, cast(Tensor, head.maps.bias)[:, None, None, None]], 1)
    kernels = []
    for half, start in enumerate((1.0, 0.0)):
        rest = torch.tensor([start] + [0.0] * (FREE_CHANNELS - 2), dtype=h.dtype)
        rest = rest[None, :, None, None].expand(rows, -1, 1, 1)
        kernels.append(torch.cat([kernel[half * rows : (half + 1) * rows], rest], 1))

    def maps(strip: Strip) -> tuple[Tensor, Tensor]:
        source = strip.below(head.up).of(h)
        scale, shift = (_shuffled(source, kernel, head.up, strip) for kernel in kernels)
        return scale, shift

    return maps


def _shuffled(x: Tensor, kernel: Tensor, times: int, strip: Strip) -> Tensor:
    """1x1 convolution with [rows,c,1,1], then `pixel_shuffle`, as one transposed convolution."""
    if times == 1:
        return F.conv2d(x, kernel)
    # Row (channel, phase) of the kernel is its tap `phase` for that channel.
    kernel = kernel.reshape(kernel.shape[0] // times**2, times, times, -1).permute(3, 0, 1, 2)
    return strip.enlarged(x, kernel, times)


@dataclass(frozen=True)
class Synthesis:
    """`MobileStyleGAN.synthesis` step by step. `codes` [n,k,w_dim]; `conditions` by level in px;
    `one`: the `unforeseen_one`."""

    decoder: MobileStyleGAN
    codes: Tensor
    conditions: Mapping[int, Condition]
    one: Tensor

    def image(self, size: int) -> Tensor:
        """The image of `size` px: by the head of that size, the published last layer or its half"""
        decoder = self.decoder
        if str(size) in decoder.heads:
            return self.through_levels(size // 2, self.rows_by_head)
        last = decoder.out_size // 2
        return self.through_levels(
            last, self.rows_by_to_rgb if size > last else self.halved_rows_by_to_rgb
        )

    def through_levels(self, last: int, rows: Callable[[Tensor, Strip], Tensor]) -> Tensor:
        """All levels below `last`, then what `rows` makes of their features, strip by strip."""
        first = self.decoder.conv_4
        x = self.decoder.const * self.style(0, first.affine)[:, :, None, None]
        order = self.order_of(4, last)
        x = F.conv2d(x, order(first.weight), order(first.bias), padding=1)
        x = self.activated(x, first, Strip.whole(4))
        size = 8
        while size < last:
            x = self.level(x, size, Strip.whole(size), last)
            size *= 2
        # The last level and the head have features larger than a cache.
        parts = [rows(x, strip) for strip in strips_of(last)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def level(self, x: Tensor, size: int, strip: Strip, last: int) -> Tensor:
        """`Level`: features of the level below, bands in groups, to rows `strip` of this one.

        Up to level `last` channels are given in the order in which the next level reads them.
        """
        block, i = self.decoder.blocks[str(size)], 3 * self.decoder.levels.index(size) + 1
        inner = strip.wider()
        x = self.up(x, block, i, inner.wider())
        x = inner.conv(x, block.conv1.depthwise, groups=x.shape[1])
        style = self.style(i + 2, block.conv2.affine)
        channels = style.shape[1]
        condition = self.conditions.get(size)
        half = channels if condition is None else channels // 2
        order = self.order_of(size, last)
        pointwise, bias = order(block.conv2.pointwise), order(block.conv2.bias)
        total: Tensor | None = None
        for rows in (slice(0, half), slice(half, channels)):
            if rows.start == channels:
                break
            part = F.conv2d(x, block.conv1.pointwise[rows], block.conv1.bias[rows])
            part = self.activated(part, block.conv1, inner)
            if condition is not None and rows.start > 0:
                scale, shift = condition(inner)
                part = part * scale + shift
            part = part * style[:, rows, None, None]
            part = strip.conv(part, block.conv2.depthwise[rows], groups=part.shape[1])
            if total is None:
                total = F.conv2d(part, pointwise[:, rows], bias)
            else:
                total = total + F.conv2d(part, pointwise[:, rows])
        assert total is not None
        return self.activated(total, block.conv2, strip)

    def up(self, x: Tensor, block: Level, i: int, strip: Strip) -> Tensor:
        """Rows `strip` of the inverse Haar of styled bands.

        The style of `conv1` that comes next multiplies whole channels, so all four of their bands.
        """
        bands = self.style(i, block.up.affine, grouped_bands)
        after = self.style(i + 1, block.conv1.affine, repeated_in_groups)
        x = strip.below(2).of(x) * (bands * after)[:, :, None, None]
        channels = x.shape[1] // 4
        group = gcd(GROUP, channels)
        kernel = haar_kernel(channels, group).to(x.dtype)
        return strip.enlarged(x, kernel, 2, groups=channels // group)

    def order_of(self, size: int, last: int) -> Callable[[Tensor], Tensor]:
        """Order of the channels that level `size` ends with."""
        return grouped_bands if size < last else _as_they_are

    def style(
        self, index: int, affine: Affine, order: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Style [n,c] from code `index`, its channels permuted by `order`."""
        order = order or _as_they_are
        return F.linear(self.codes[:, index], order(affine.weight), order(affine.bias))

    def activated(self, x: Tensor, layer: StyledConv | SeparableStyledConv, strip: Strip) -> Tensor:
        """Noise and leaky ReLU on rows `strip`."""
        return F.leaky_relu(x + strip.of(layer.noise) * self.one, SLOPE)

    def rows_of_level(self, x: Tensor, strip: Strip) -> Tensor:
        """Rows `strip` of the last level's features."""
        return self.level(x, strip.size, strip, strip.size)

    def rows_by_to_rgb(self, x: Tensor, strip: Strip) -> Tensor:
        """Features below the last level to the image, by the published last layer."""
        layer, index = self.decoder.to_rgb, self.decoder.num_styles - 1
        x = self.rows_of_level(x, strip) * self.style(index, layer.affine)[:, :, None, None]
        phases = F.conv2d(x, phases_of_rgb(layer.weight), phases_of_rgb(layer.bias))
        return F.pixel_shuffle(phases, 2)

    def halved_rows_by_to_rgb(self, x: Tensor, strip: Strip) -> Tensor:
        """The same at half the size."""
        layer, index = self.decoder.to_rgb, self.decoder.num_styles - 1
        return layer.halved(self.rows_of_level(x, strip), self.style(index, layer.affine))

    def rows_by_head(self, x: Tensor, strip: Strip) -> Tensor:
        """Features below the last level to the image of `strip`, by the head of twice its size."""
        decoder, size = self.decoder, 2 * strip.size
        head, index = decoder.heads[str(size)], decoder.num_styles_for(size) - 1
        x = self.rows_of_level(x, strip.wider())
        up = decoder.blocks[str(size)].up if size in decoder.levels else decoder.to_rgb
        style = head.style(self.codes[:, index], self.style(index, up.affine))
        channels = x.shape[1]
        x = x * style[:, :channels, None, None]
        y = strip.conv(x, head.depthwise, groups=channels)
        # The straight way goes along the curved one, to read y once: l = (lrelu(l) - lrelu(-l))/1.2
        straight = phases_of_rgb(head.weight)
        first = torch.cat([head.hidden, straight, -straight])
        bands = straight.shape[0]
        bias = torch.cat([head.hidden_bias, torch.zeros(2 * bands, dtype=x.dtype)])
        back = torch.cat([torch.eye(bands), -torch.eye(bands)], 1).to(x.dtype) / (1 + SLOPE)
        second = torch.cat([phases_of_rgb(head.branch), back[:, :, None, None]], 1)
        phases = F.conv2d(F.leaky_relu(F.conv2d(y, first, bias), SLOPE), second)
        offset = style[:, channels:] @ phases_of_rgb(torch.eye(bands, dtype=x.dtype)).T
        return F.pixel_shuffle(phases + offset[:, :, None, None], 2)


def _as_they_are(x: Tensor) -> Tensor:
    return x


def grouped_bands(x: Tensor) -> Tensor:
    """[4c,...] of networks/mobile_stylegan.py -> LL, LH, HL, HH of 16 channels, then the next."""
    c, rest = x.shape[0] // 4, x.shape[1:]
    group = gcd(GROUP, c)
    ll = x[:c].reshape(c // group, 1, group, *rest)
    others = x[c:].reshape(c // group, group, 3, *rest).transpose(1, 2)
    return torch.cat([ll, others], 1).reshape(x.shape)


def repeated_in_groups(x: Tensor) -> Tensor:
    """[c,...], a value of each channel -> [4c,...], of each band in the order of `grouped_bands`"""
    c, rest = x.shape[0], x.shape[1:]
    group = gcd(GROUP, c)
    x = x.reshape(c // group, 1, group, *rest).expand(-1, 4, *(-1 for _ in (c, *rest)))
    return x.reshape(4 * c, *rest)


def haar_kernel(channels: int, group: int) -> Tensor:
    """[4c,group,2,2] of the transposed convolution in groups that is an inverse Haar step."""
    haar = torch.tensor(HAAR).T.reshape(4, 1, 1, 2, 2) / 2  # [band, 1, 1, row, column]
    kernel = haar * torch.eye(group)[:, :, None, None]
    return kernel.expand(channels // group, -1, -1, -1, -1, -1).flatten(0, 2)


def phases_of_rgb(x: Tensor) -> Tensor:
    """[12,...] sub-bands of RGB -> (colour, phase), as `pixel_shuffle` reads: the inverse Haar."""
    ll = x[:3].reshape(3, 1, -1)
    bands = torch.cat([ll, x[3:].reshape(3, 3, -1)], 1)  # [colour, band, ...]
    haar = torch.tensor(HAAR, dtype=x.dtype) / 2
    return (haar @ bands).reshape(x.shape)


Exported = tuple[nn.Module, dict[str, tuple[int, ...]], tuple[str, ...]]
"""What becomes a graph: a module, its inputs' shapes without the batch, its outputs' names."""


def export_fast(network: PriorRestorer, size: int) -> Exported:
    """The default restorer in its fast arrangement; crops of `size` px."""
    inputs: dict[str, tuple[int, ...]] = {"lq": (3, size, size), "fidelity": ()}
    return FastRestorer(network, size), inputs, ("image", "degradation")


def export_dialled(network: PriorRestorer, size: int) -> Exported:
    """GFPGAN's family as it is; crops of `size` px."""
    return DialledRestorer(network), {"lq": (3, size, size), "fidelity": ()}, ("image",)


def export_embedding(network: nn.Module, size: int) -> Exported:
    """A face recognition network: `face` [n,3,h,w] -> `embedding`."""
    return network, {"face": (3, *network.input_size)}, ("embedding",)  # type: ignore[misc]


def export_occlusion(network: nn.Module, size: int) -> Exported:
    """The network that sees covered faces: `face` [n,3,h,w] -> `cover`, logits."""
    return network, {"face": (3, *network.input_size)}, ("cover",)  # type: ignore[misc]
