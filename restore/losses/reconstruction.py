"""Losses of a restored face `[n]`: pixels, pyramid, features, identity, codes, degradation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import OptionError
from restore.networks.identity import identity_cosine
from restore.networks.perceptual import at_size, masked_mean, widened


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


def l1_loss(restored: Tensor, gt: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference `[n]` of [n,c,h,w] images, over the places of mask [n,1,h,w]."""
    return masked_mean((restored - gt).abs(), mask)


def charbonnier_loss(
    restored: Tensor, gt: Tensor, mask: Tensor | None = None, epsilon: float = 1e-3
) -> Tensor:
    """Mean of sqrt(d² + epsilon²) `[n]`: an L1 that is smooth at 0 (Charbonnier 1994)."""
    return masked_mean(((restored - gt).square() + epsilon**2).sqrt(), mask)


def pyramid_loss(side_images: Iterable[Tensor], gt: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum over the side images [n,3,r,r] of their L1 to `gt` [n,3,s,s] averaged down: `[n]`.

    GFPGAN (gfpgan_model.py, `construct_img_pyramid`) halves the image bilinearly again and again,
    which is this average.
    """
    total = gt.new_zeros(len(gt))
    for side in side_images:
        height, width = side.shape[-2:]
        total = total + l1_loss(side, F.adaptive_avg_pool2d(gt, (height, width)), mask)
    return total


def identity_loss(
    network: nn.Module, restored: Tensor, gt: Tensor, frame_to_crop: Tensor | None = None
) -> Tensor:
    """1 - cosine `[n]`, 0 for the same identity; arguments as `identity_cosine`."""
    return 1 - identity_cosine(network, restored, gt, frame_to_crop)


def code_loss(
    w_plus: Tensor, target: Tensor, variance: Tensor | float = 1.0, known: Tensor | None = None
) -> Tensor:
    """Squared error of codes [n,k,d] to `target` [n,k,d] or [n,d], over `variance`: `[n]`.

    With the variance of w (a number or [d]) 1 is what the mean code scores, 0 is perfect.
    `known` [n] (0/1) says which samples are generated faces, the only ones with true codes.
    """
    if target.ndim == 2:
        target = target[:, None]
    loss = ((w_plus - target).square() / variance).mean((1, 2))
    return loss if known is None else loss * known.to(loss)


def distance_from_mean(w_plus: Tensor, w_mean: Tensor, variance: Tensor | float = 1.0) -> Tensor:
    """Root mean square distance `[n]` of codes [n,k,d] from `w_mean` [d], in deviations of w.

    About 1 for codes that use the prior as its own samples do, 0 for codes stuck at the mean.
    """
    return ((w_plus - w_mean).square() / variance).mean((1, 2)).sqrt()


def degradation_loss(
    predicted: Tensor,
    target: Tensor,
    weights: Sequence[float] | Tensor | None = None,
    beta: float = 0.1,
) -> Tensor:
    """Smooth L1 `[n]` of the raw head output [n,6] against `truth.as_target()` [n,6].

    All six parameters are regressed, `gray` and `damage` too: then the raw output is in target
    units everywhere (export, runtimes, `target_to_units`) and needs no sigmoid that someone
    forgets. `weights` [6], one per parameter, are normalised to sum 1; `beta` is where the
    square turns into a line. A target that is not finite is unknown and counts 0.
    """
    if predicted.shape != target.shape:
        raise ValueError(
            f"degradation head gave {tuple(predicted.shape)}, the truth is {tuple(target.shape)}"
        )
    share = torch.ones(target.shape[1]) if weights is None else torch.as_tensor(weights)
    share = share.to(target) / share.sum()
    known = torch.isfinite(target)
    wanted = torch.where(known, target, predicted.detach().to(target))
    loss = F.smooth_l1_loss(predicted.to(target), wanted, reduction="none", beta=beta)
    return (loss * share).sum(1)
