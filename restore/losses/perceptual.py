"""Perceptual losses on a frozen feature network: LPIPS, VGG as GFPGAN weights it, Gram styles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restore.errors import OptionError
from restore.networks.perceptual import LpipsLoss, at_size, masked_mean, widened

__all__ = [
    "LpipsLoss",
    "VggPerceptualLoss",
    "feature_matching_loss",
    "gram",
    "gram_distance",
    "masked_mean",
]


class VggPerceptualLoss(nn.Module):
    """GFPGAN's perceptual and style loss (BasicSR `PerceptualLoss`, L1 criterion): two `[n]`.

    `layer_weights` one weight per activation of the network, GFPGAN: 0.1, 0.1, 1, 1, 1 on VGG19.
    Returns (perceptual, style), unscaled; GFPGAN multiplies them by 1 and 50.
    """

    def __init__(self, network: nn.Module, layer_weights: Sequence[float], style: bool = True):
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        widths = tuple(network.channels)  # type: ignore[arg-type]
        if len(layer_weights) != len(widths):
            raise OptionError(
                f"{len(layer_weights)} layer weights for a feature network with "
                f"{len(widths)} activations; give one weight each"
            )
        self.layer_weights = tuple(layer_weights)
        self.style = style

    def train(self, mode: bool = True) -> VggPerceptualLoss:
        return super().train(False)

    def forward(
        self, restored: Tensor, gt: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`restored`, `gt` [n,3,h,w] RGB in [-1,1]; `mask` [n,1,h,w]. -> ([n], [n])."""
        first = self.network(restored)
        with torch.no_grad():
            second = self.network(gt)
        dtype = torch.promote_types(gt.dtype, torch.float)
        perceptual = style = restored.new_zeros(len(restored), dtype=dtype)
        for weight, a, b in zip(self.layer_weights, first, second, strict=True):
            if weight == 0:
                continue
            a, b = widened(a), widened(b)
            perceptual = perceptual + weight * masked_mean((a - b).abs().mean(1, True), mask)
            if self.style:
                style = style + weight * gram_distance(a, b, mask)
        return perceptual, style


def gram(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Gram matrix `[n,c,c]` of activations [n,c,h,w], over c h w as BasicSR scales it.

    A mask [n,1,H,W] weighs the places; its weights then take the part of h w.
    """
    _, c, h, w = features.shape
    flat = widened(features).flatten(2)
    if mask is None:
        return flat @ flat.transpose(1, 2) / (c * h * w)
    weights = at_size(mask, (h, w), flat.dtype).flatten(2)
    total = weights.sum(2, keepdim=True).clamp_min(1e-6)
    return (flat * weights) @ flat.transpose(1, 2) / (c * total)


def gram_distance(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference of two Gram matrices: `[n]` (Gatys 2016, L1 as in BasicSR)."""
    return (gram(a, mask) - gram(b, mask)).abs().mean((1, 2))


def feature_matching_loss(
    fake: Sequence[Tensor], real: Sequence[Tensor], mask: Tensor | None = None
) -> Tensor:
    """Mean L1 between lists of activations (pix2pixHD, eq. 4), `real` without gradients: `[n]`."""
    terms = [
        masked_mean((widened(a) - widened(b.detach())).abs(), mask)
        for a, b in zip(fake, real, strict=True)
    ]
    return torch.stack(terms).mean(0)
