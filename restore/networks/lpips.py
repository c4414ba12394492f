"""LPIPS on any frozen feature network, and the masked mean that per-sample losses share."""

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


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean per sample of [n,c,h,w], weighted by a mask [n,1,H,W] pooled to the same size: `[n]`.

    Of an all-zero mask the mean is 0.
    """
    if mask is None:
        return values.mean((1, 2, 3))
    weights = at_size(mask, values.shape[-2:], values.dtype)
    total = weights.sum((1, 2, 3)).clamp_min(1e-6)
    return (values.mean(1, keepdim=True) * weights).sum((1, 2, 3)) / total


def at_size(mask: Tensor, size: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A mask [n,1,h,w] averaged down to (h, w) `size`, in `dtype`."""
    mask = mask.to(dtype)
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    return F.adaptive_avg_pool2d(mask, (size[0], size[1]))


def _unit(features: Tensor) -> Tensor:
    # lpips divides by the norm + 1e-10; its square root has no gradient where all channels are 0.
    features = widened(features)
    norm = (features.square().sum(1, keepdim=True) + 1e-20).sqrt()
    return features / (norm + 1e-10)


def widened(x: Tensor) -> Tensor:
    """At least float32: sums over half-precision activations lose the small differences."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
