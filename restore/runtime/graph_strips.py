"""Strips of rows: large maps in pieces whose features stay in a processor's cache."""

from __future__ import annotations

from dataclasses import dataclass

from restore.runtime.graph import GraphBuilder

# 32 rows of 256 px: 6 MB where 192 channels come in and go out; the whole map has 50. On two cores
# with 32 MB of cache 1x1 convolutions then run at twice the rate; 64 rows gain a little less, 16 no
# more, since each strip computes three rows again on either side.
STRIP_PIXELS = 8192


@dataclass(frozen=True)
class Strip:
    """Rows [start, end) of square maps of `size` px."""

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

    def pads(self) -> tuple[int, int, int, int]:
        """Padding of a 3x3 convolution from `wider()`: only where the map itself ends."""
        return int(self.start == 0), 1, int(self.end == self.size), 1

    def of(self, graph: GraphBuilder, x: str) -> str:
        """These rows of a whole map [n,c,h,w]."""
        if self == Strip.whole(self.size):
            return x
        return graph.slice(x, self.start, self.end, 2)

    def source(self, graph: GraphBuilder, x: str, times: int) -> str:
        """The rows of a whole map, `times` smaller, that these lie over."""
        return self._below(times).of(graph, x)

    def enlarged(self, graph: GraphBuilder, x: str, kernel: str, times: int, group: int = 1) -> str:
        """These rows of the transposed convolution that enlarges `source(...)`."""
        below = self._below(times)
        crop = [self.start - below.start * times, 0, below.end * times - self.end, 0]
        return graph.node(
            "ConvTranspose",
            x,
            kernel,
            kernel_shape=[times] * 2,
            strides=[times] * 2,
            pads=crop,
            group=group,
        )

    def _below(self, times: int) -> Strip:
        return Strip(self.start // times, -(-self.end // times), self.size // times)


def strips_of(size: int) -> list[Strip]:
    """A map in strips of at most `STRIP_PIXELS` pixels."""
    rows = max(STRIP_PIXELS // size, 1)
    return [Strip(y, min(y + rows, size), size) for y in range(0, size, rows)]
