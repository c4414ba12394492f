"""Landmark distance per image: how far the points of a face mesh moved."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from restore.networks.identity import align_to_network, crop_scale


def landmark_measure(
    network: nn.Module, presence: float = 0.0
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """A function (restored, gt, mask) -> mean distance `[n]` over the points, FFHQ-frame faces.

    The unit is pixels of a 512 crop whatever the size of the images. NaN where the network finds
    no face in the ground truth (its presence logit is under `presence`); a restored picture
    without a face is measured, and badly. The mask is not used.
    """

    def per_image(restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        with torch.no_grad():
            first, _ = network(align_to_network(restored, network))
            second, logit = network(align_to_network(gt, network))
        distance = (first - second)[..., :2].norm(dim=-1).mean(1) * crop_scale(network, 512)
        return torch.where(logit < presence, torch.nan, distance)

    return per_image
