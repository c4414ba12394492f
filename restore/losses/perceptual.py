"""Perceptual losses on a frozen feature network: LPIPS, VGG as GFPGAN weights it, Gram styles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.errors import OptionError


class LpipsLoss(nn.Module):
    """LPIPS (Zhang et al. 2018, eq. 1) on any feature network: `[n]`, one distance per image.

    `network(image) -> list of activations`, `network.channels` their widths. `heads` are lpips'
    linear weights `[c]` per activation (`feature_files.load_lpips_heads`); `None` weighs all
    channels of an activation alike and sums over activations: a plain feature distance.
    With lpips' own backbone weights and heads the values are lpips' own.
    """

    def __init__(self, network: nn.Module, heads: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        widths = tuple(network.channels)  # type: ignore[arg-type]
        if heads is not None and tuple(len(h) for h in heads) != widths:
            raise OptionError(
                f"LPIPS heads of widths {[len(h) for h in heads]} do not fit a feature network of "
                f"widths {list(widths)}; use the heads of the same backbone, or none"
            )
        for index, width in enumerate(widths):
            head = torch.ones(width) if heads is None else heads[index].detach().clone()
            self.register_buffer(f"head{index}", head[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> LpipsLoss:
        return super().train(False)

    def forward(self, restored: Tensor, gt: Tensor, mask: Tensor | None = None) -> Tensor:
        """`restored`, `gt` [n,3,h,w] RGB in [-1,1]; `mask` [n,1,h,w] weighs the places. -> [n]."""
        first = self.network(restored)
        with torch.set_grad_enabled(gt.requires_grad and torch.is_grad_enabled()):
            second = self.network(gt)
        total = restored.new_zeros(len(restored), dtype=torch.promote_types(gt.dtype, torch.float))
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            difference = (_unit(a) - _unit(b)).square()
            spread = (difference * self.get_buffer(f"head{index}")).sum(1, keepdim=True)
            total = total + masked_mean(spread, mask)
        return total


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
            a, b = _wide(a), _wide(b)
            perceptual = perceptual + weight * masked_mean((a - b).abs().mean(1, True), mask)
            if self.style:
                style = style + weight * gram_distance(a, b, mask)
        return perceptual, style


def gram(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Gram matrix `[n,c,c]` of activations [n,c,h,w], over c h w as BasicSR scales it.

    A mask [n,1,H,W] weighs the places; its weights then take the part of h w.
    """
    _, c, h, w = features.shape
    flat = _wide(features).flatten(2)
    if mask is None:
        return flat @ flat.transpose(1, 2) / (c * h * w)
    weights = _at_size(mask, (h, w), flat.dtype).flatten(2)
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
        masked_mean((_wide(a) - _wide(b.detach())).abs(), mask)
        for a, b in zip(fake, real, strict=True)
    ]
    return torch.stack(terms).mean(0)


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean per sample of [n,c,h,w], weighted by a mask [n,1,H,W] pooled to the same size: `[n]`.

    Of an all-zero mask the mean is 0.
    """
    if mask is None:
        return values.mean((1, 2, 3))
    weights = _at_size(mask, values.shape[-2:], values.dtype)
    total = weights.sum((1, 2, 3)).clamp_min(1e-6)
    return (values.mean(1, keepdim=True) * weights).sum((1, 2, 3)) / total


def _at_size(mask: Tensor, size: Sequence[int], dtype: torch.dtype) -> Tensor:
    mask = mask.to(dtype)
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    return F.adaptive_avg_pool2d(mask, (size[0], size[1]))


def _unit(features: Tensor) -> Tensor:
    # lpips divides by the norm + 1e-10; its square root has no gradient where all channels are 0.
    features = _wide(features)
    norm = (features.square().sum(1, keepdim=True) + 1e-20).sqrt()
    return features / (norm + 1e-10)


def _wide(x: Tensor) -> Tensor:
    """At least float32: sums over half-precision activations lose the small differences."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
