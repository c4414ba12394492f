"""The small network that sees which part of a face is covered."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.identity import ResidualBlock, folded_state, normed_conv


class OcclusionNetwork(nn.Module):
    """`forward(face [n,3,64,64] RGB in [-1,1]) -> logits [n,1,16,16]`: above 0, covered.

    The face stands as `trust.occlusion.VIEW_POINTS` says. `widths`: channels at 32, 16, 8 and
    4 px. `norm`: with batch norms, as it is trained; without, as it is shipped (`folded`).
    """

    input_size = (64, 64)

    def __init__(
        self, widths: tuple[int, int, int, int] = (16, 32, 48, 64), norm: bool = False
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {"widths": list(widths), "norm": norm}
        first, fine, middle, coarse = widths
        self.stem = normed_conv(3, first, 3, 2, norm)
        self.down = nn.ModuleList(normed_conv(a, b, 3, 2, norm) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(ResidualBlock(width, norm) for width in widths[1:])
        self.middle = ResidualBlock(coarse, norm)
        self.up = nn.ModuleList(
            [normed_conv(coarse, middle, 1, 1, norm), normed_conv(middle, fine, 1, 1, norm)]
        )
        self.merge = nn.ModuleList([ResidualBlock(middle, norm), ResidualBlock(fine, norm)])
        self.cover = nn.Conv2d(fine, 1, 1)

    def forward(self, face: Tensor) -> Tensor:
        x = F.relu(self.stem(face))
        levels = []
        for down, stage in zip(self.down, self.stages, strict=True):
            x = stage(F.relu(down(x)))
            levels.append(x)
        x = self.middle(x)
        for up, merge, skip in zip(self.up, self.merge, levels[-2::-1], strict=True):
            x = merge(F.interpolate(up(x), scale_factor=2.0, mode="nearest") + skip)
        logits: Tensor = self.cover(x)
        return logits


def folded(network: OcclusionNetwork) -> OcclusionNetwork:
    """The same function without batch norms, as it is shipped; in eval mode, weights copied."""
    plain = OcclusionNetwork(**{**network.arguments, "norm": False}).eval()
    state = folded_state(network)
    state |= {f"cover.{name}": value for name, value in network.cover.state_dict().items()}
    plain.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    return plain
