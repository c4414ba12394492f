"""Pixel losses per sample: L1 and Charbonnier, weighted by a mask of the places that count."""

from __future__ import annotations

from torch import Tensor

from restore.losses.perceptual import masked_mean


def l1_loss(restored: Tensor, gt: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference `[n]` of [n,c,h,w] images, over the places of mask [n,1,h,w]."""
    return masked_mean((restored - gt).abs(), mask)


def charbonnier_loss(
    restored: Tensor, gt: Tensor, mask: Tensor | None = None, epsilon: float = 1e-3
) -> Tensor:
    """Mean of sqrt(d² + epsilon²) `[n]`: an L1 that is smooth at 0 (Charbonnier 1994)."""
    return masked_mean(((restored - gt).square() + epsilon**2).sqrt(), mask)
