"""The steps of StyleGAN2's training: G, path length, D with lazy R1 (arXiv 1912.04958)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    r1_penalty,
)
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.training.restorer_step import Loss, frozen
from restore.training.sample_draws import SampleDraws

Augment = Callable[[Tensor, str], Tensor]
"""(images, purpose) -> images as D sees them."""


@dataclass(frozen=True)
class Latents:
    """What a batch of generated images is made of: W+ [n,k,w_dim] and the noise's generator."""

    w_plus: Tensor
    w: Tensor
    noise: torch.Generator


def draw_latents(
    generator: nn.Module,
    draws: SampleDraws,
    numbers: Sequence[int],
    mixing_prob: float,
    purpose: str,
) -> Latents:
    """Codes of the samples `numbers`; with chance `mixing_prob` two codes cross over at a layer."""
    device = next(generator.parameters()).device
    z_dim = getattr(generator, "z_dim", generator.w_dim)
    w = generator.mapping(draws.normal(f"{purpose}.z", numbers, z_dim).to(device))  # type: ignore[operator, arg-type]
    k: int = generator.num_styles  # type: ignore[assignment]
    w_plus = w[:, None].expand(-1, k, -1)
    if mixing_prob > 0:
        second = generator.mapping(draws.normal(f"{purpose}.z2", numbers, z_dim).to(device))  # type: ignore[operator, arg-type]
        at = torch.tensor([_crossover(draws, purpose, n, mixing_prob, k) for n in numbers])
        late = torch.arange(k)[None] >= at[:, None]
        w_plus = torch.where(late.to(device)[:, :, None], second[:, None], w_plus)
    noise = draws.generator(f"{purpose}.noise", numbers[0], str(device))
    return Latents(w_plus, w, noise)


def _crossover(draws: SampleDraws, purpose: str, number: int, prob: float, layers: int) -> int:
    rng = draws.numpy(f"{purpose}.mixing", number)
    return int(rng.integers(1, layers)) if rng.random() < prob else layers


def generated(
    generator: nn.Module, latents: Latents, size: int, heads: PriorHeads | None = None
) -> Tensor:
    """Images [n,3,size,size] with fresh noise; a MobileStyleGAN has its own, and is shrunk.

    With `heads` it is not painted in full: its head of that size stands for the levels above.
    """
    if isinstance(generator, MobileStyleGAN):
        if heads is not None:
            return heads(generator, latents.w_plus, size)
        return shrunken_picture(generator, latents.w_plus, size)
    return generator.synthesis(latents.w_plus, noise=latents.noise)  # type: ignore[operator]


def shrunken_picture(generator: MobileStyleGAN, w_plus: Tensor, size: int) -> Tensor:
    """The full picture of a MobileStyleGAN [n,3,size,size], averaged; its heads take no part.

    Up to half of the full size the features are averaged in front of `to_rgb`: the same image for
    less memory.
    """
    styles, half = generator.styles(w_plus), generator.out_size // 2
    x = generator.features(styles, None, last=half)
    if size > half:
        return generator.to_rgb(x, styles[-1])
    return generator.to_rgb.halved(F.avg_pool2d(x, half // size), styles[-1])


def generator_step(
    generator: nn.Module,
    discriminator: nn.Module,
    latents: Latents,
    augment: Augment,
    size: int,
    heads: PriorHeads | None = None,
) -> Loss:
    """G: -log sigmoid(D(G(z))). Also moves the running mean of w, where w is trained."""
    with frozen([discriminator]):
        image = generated(generator, latents, size, heads)
        logits = discriminator(augment(image, "ada.g"))
        loss = generator_loss(logits).mean()
    if latents.w.requires_grad:
        generator.w_mean.lerp_(latents.w.detach().float().mean(0), 0.005)  # type: ignore[operator]
    return loss, {"l_g": loss, "fake_score": logits.detach().float().mean()}


def path_step(
    generator: nn.Module,
    latents: Latents,
    mean_length: Tensor,
    weight: float,
    size: int,
    heads: PriorHeads | None = None,
) -> tuple[Loss, Tensor]:
    """The path length regulariser, in float32; also the new running mean of lengths []."""
    with torch.autocast(latents.w_plus.device.type, enabled=False):
        w_plus = latents.w_plus.float()  # the mapping has answered in the step's precision
        image = generated(generator, replace(latents, w_plus=w_plus), size, heads)
        penalty, new_mean = path_length_penalty(image, w_plus, mean_length, latents.noise)
    loss = weight * penalty.mean()
    return (loss, {"l_g_path": penalty.mean(), "path_length": new_mean}), new_mean


def discriminator_step(
    discriminator: nn.Module, fake: Tensor, real: Tensor, augment: Augment, r1_weight: float
) -> Loss:
    """D: -log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))); `r1_weight` > 0 adds R1 on real ones."""
    on_fake = discriminator(augment(fake.detach(), "ada.fake"))
    on_real = discriminator(augment(real, "ada.real"))
    loss = discriminator_loss(on_real, on_fake).mean()
    parts = {
        "l_d": loss,
        "real_score": on_real.detach().float().mean(),
        "real_sign": on_real.detach().float().sign().mean(),
    }
    if r1_weight > 0:
        with torch.autocast(real.device.type, enabled=False):
            seen = real.detach().float().requires_grad_(True)
            penalty = r1_penalty(discriminator(augment(seen, "ada.real")), seen).mean()
        parts["l_d_r1"] = penalty
        loss = loss + r1_weight * penalty
    return loss, parts
