"""The prior alone as an ONNX graph in memory, at any of its sizes: full, half, or by a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore.config.graph_layout import places_of_arrays
from restore.networks.mobile_stylegan import STYLES_OF_LEVEL, MobileStyleGAN, PriorHeads
from restore.runtime.graph import GraphBuilder
from restore.runtime.graph_strips import Strip
from restore.runtime.mobile_synthesis_graph import SynthesisSteps

if TYPE_CHECKING:
    import onnx

RGB = 3


def prior_model(
    generator: MobileStyleGAN, size: int, heads: PriorHeads | None = None
) -> onnx.ModelProto:
    """Codes to an image of `size` px: what torch paints, weights inside, float32.

    Inputs `w_plus` [n,k,w_dim] and `fidelity` [n], which changes nothing; output `image`
    [n,3,size,size] RGB, about [-1.4,1.3], not clamped. `size`: the full one, half of it, one of
    `heads`, or one of `generator.heads`; ValueError for others.
    """
    arrays = {f"decoder.{name}": value.numpy() for name, value in generator.state_dict().items()}
    if heads is not None and size in heads.sizes:
        own = heads.heads[str(size)].state_dict()
        arrays |= {f"head.{name}": value.numpy() for name, value in own.items()}
    elif size not in generator.sizes:
        raise ValueError(f"found {size} px, expected one of {generator.sizes}, or a head for it")
    places = places_of_arrays(arrays)
    graph = GraphBuilder(places, "the generator", arrays.__getitem__, "fp32")
    channels, one = list(generator.channels.values()), graph.unforeseen_one("fidelity")
    if heads is not None and size in heads.sizes:
        image = _PictureOfLevel(graph, channels, size, one).image_by_head()
    elif size == generator.out_size or str(size) in generator.heads:
        image = SynthesisSteps(graph, channels, size, "w_plus", {}, one).image()
    else:
        image = _PictureOfLevel(graph, channels, size, one).image_by_halving()
    return graph.model(
        {"w_plus": ["n", generator.num_styles, generator.w_dim], "fidelity": ["n"]},
        {"image": (image, ["n", 3, size, size])},
    )


class _PictureOfLevel(SynthesisSteps):
    """A picture as large as the level that it is painted from."""

    def __init__(self, graph: GraphBuilder, channels: list[int], size: int, one: str) -> None:
        super().__init__(graph, channels, 2 * size, "w_plus", {}, one)
        self.size = size

    def image_by_halving(self) -> str:
        """The published last layer's LL band: `ToRGB.halved`, strip by strip."""
        return self.through_levels(self.halved_rows)

    def halved_rows(self, below: str, strip: Strip) -> str:
        """Rows `strip` of the image, from the features of the level below the last."""
        g = self.g
        half = g.constant(0.5)
        weight, bias = (
            g.mul(g.slice(g.weight(f"decoder.to_rgb.{part}"), 0, RGB, 0), half)
            for part in ("weight", "bias")
        )
        x = self.styled(self.last_level(below, strip), -1, "decoder.to_rgb")
        return g.conv(x, weight, bias, kernel=1)

    def last_level(self, below: str, strip: Strip) -> str:
        """Rows `strip` of the last level's features."""
        return self.level(below, self.count - 1, strip)

    def image_by_head(self) -> str:
        """`networks/mobile_stylegan.py`: the later levels, worked through at this size."""
        g = self.g
        x = self.through_levels(self.last_level)
        for part, i in enumerate(range(self.count, len(self.channels))):
            x = self.shrunken_level(x, f"head.levels.{part}", i)
        x = self.styled(x, -1, "decoder.to_rgb")
        return g.conv(x, g.weight("head.weight"), g.weight("head.bias"), kernel=1)

    def shrunken_level(self, x: str, name: str, i: int) -> str:
        """`ShrunkenLevel`: features [n,c,s,s] of the level below `i` -> [n,c',s,s]."""
        g, block, channels = self.g, f"decoder.blocks.{4 << i}", self.channels[i - 1]
        inner = channels // 4
        up = self.affine(STYLES_OF_LEVEL * i - 2, f"{block}.up.affine", gain=0.5)
        # first the channels, then each of them three times: `repeat_interleave`
        order = g.ints(*range(inner), *(c for c in range(inner) for _ in range(3)))
        first = self.affine(STYLES_OF_LEVEL * i - 1, f"{block}.conv1.affine", order)
        x = g.mul(x, g.to_map(g.mul(up, first)))
        head, further = g.slice(x, 0, inner, 1), g.slice(x, inner, channels, 1)
        y = g.conv(head, g.weight(f"{name}.conv1.depthwise"), group=inner)
        y = self.rounded(g.node("Concat", y, further, axis=1), f"{name}.conv1")
        y = self.styled(y, 3 * i, f"{block}.conv2")
        y = g.conv(y, g.weight(f"{name}.conv2.depthwise"), group=self.channels[i])
        return self.rounded(y, f"{name}.conv2")

    def rounded(self, x: str, name: str) -> str:
        """The 1x1 step, noise, and a leaky ReLU with a rounded corner."""
        g = self.g
        y = g.conv(x, g.weight(f"{name}.pointwise"), g.weight(f"{name}.bias"), kernel=1)
        y = g.add(y, g.mul(g.weight(f"{name}.noise"), self.one))
        spread = g.weight(f"{name}.spread")
        root = g.node("Sqrt", g.add(g.mul(y, y), g.mul(spread, spread)))
        return g.add(g.mul(y, g.constant(0.6)), g.mul(root, g.constant(0.4)))

    def styled(self, x: str, index: int, layer: str) -> str:
        """Features times the style of `layer`, from code `index` (-1: the last)."""
        return self.g.mul(x, self.g.to_map(self.affine(index, f"{layer}.affine")))
