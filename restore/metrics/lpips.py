"""LPIPS per image with any backbone and heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from restore.networks.perceptual import LpipsLoss


def lpips_measure(
    network: nn.Module, heads: Sequence[Tensor] | None
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """A function (restored, gt, mask) -> `[n]` distances; lower is nearer.

    With lpips' own heads on the same kind of backbone it is LPIPS; when the backbone's weights
    were converted from another release say so: "LPIPS-squeeze (converted backbone)".
    """
    distance = LpipsLoss(network, heads)

    def per_image(restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        with torch.no_grad():
            return distance(restored, gt, mask)

    return per_image
