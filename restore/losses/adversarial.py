"""Adversarial losses per sample: non-saturating logistic, R1, path length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.losses.perceptual import masked_mean

# What a discriminator says: [n,1] or a map [n,1,h,w], or several maps of different sizes.
Logits = Tensor | Sequence[Tensor]


def generator_loss(fake: Logits, mask: Tensor | None = None) -> Tensor:
    """softplus(-D(fake)) `[n]` (Goodfellow 2014, non-saturating), maps weighing the same."""
    return _mean_over_maps([F.softplus(-_float(m)) for m in _maps(fake)], mask)


def discriminator_loss(real: Logits, fake: Logits, mask: Tensor | None = None) -> Tensor:
    """softplus(-D(real)) + softplus(D(fake)) `[n]`; `mask` [n,1,h,w] weighs places of maps."""
    on_real = _mean_over_maps([F.softplus(-_float(m)) for m in _maps(real)], mask)
    return on_real + _mean_over_maps([F.softplus(_float(m)) for m in _maps(fake)], mask)


def r1_penalty(real_logits: Logits, real: Tensor) -> Tensor:
    """Squared norm of the gradient of D on real images `[n]` (Mescheder 2018, eq. 9).

    `real` [n,3,h,w] must have required gradients before D saw it. Of a map the mean over places
    counts, several maps are summed. The caller multiplies by gamma / 2, and by the interval when
    it is lazy.
    """
    score = sum(_float(m).flatten(1).mean(1).sum() for m in _maps(real_logits))
    (gradient,) = torch.autograd.grad(score, real, create_graph=True)  # type: ignore[arg-type]
    return _float(gradient).square().sum((1, 2, 3))


def path_length_penalty(
    image: Tensor,
    w_plus: Tensor,
    mean_length: Tensor,
    generator: torch.Generator | None = None,
    decay: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """StyleGAN2's path length regulariser (eq. 4): penalty `[n]` and the new running mean `[]`.

    `image` [n,3,h,w] was synthesised from `w_plus` [n,k,d], which requires gradients;
    `mean_length` [] is the running mean so far (0 at the start).
    """
    noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    noise = noise / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad((image * noise).sum(), w_plus, create_graph=True)
    lengths = gradient.square().sum(2).mean(1).sqrt()
    new_mean = mean_length + decay * (lengths.detach().mean() - mean_length)
    return (lengths - new_mean).square(), new_mean


def _maps(logits: Logits) -> Sequence[Tensor]:
    return [logits] if isinstance(logits, Tensor) else logits


def _float(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _mean_over_maps(maps: Sequence[Tensor], mask: Tensor | None) -> Tensor:
    # A single number per image has no places to weigh.
    means = [masked_mean(m, mask) if m.ndim == 4 else m.flatten(1).mean(1) for m in maps]
    return torch.stack(means).mean(0)
