"""The steps of the restorer: G on its losses, D and the part discriminators on theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from restore.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from restore.losses.codes import distance_from_mean
from restore.losses.parts import part_discriminator_loss
from restore.networks.discriminators import PatchDiscriminator
from restore.training.restorer_losses import (
    Painted,
    RestorerBatch,
    RestorerLosses,
    encoder_terms,
    paint,
    restorer_terms,
    tilted,
)

Loss = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Judge:
    """A discriminator of the whole face and the frozen network whose features it reads, if any."""

    network: nn.Module
    features: nn.Module | None = None

    def __call__(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits [n,1], or maps of them."""
        if isinstance(self.network, PatchDiscriminator) and self.features is not None:
            return self.network(image, self.features(image))
        return self.network(image)


@contextmanager
def frozen(networks: Sequence[nn.Module]) -> Iterator[None]:
    """No gradients for the weights of `networks` inside: a step of G costs none of D's."""
    parameters = [p for n in networks for p in n.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def generator_step(
    network: nn.Module,
    losses: RestorerLosses,
    batch: RestorerBatch,
    step: int,
    input_size: int,
    judge: Judge | None = None,
) -> tuple[Loss, Painted]:
    """The loss of G with its terms (means over the batch), and what was painted.

    `judge` None leaves the adversarial term out (before it starts).
    """
    opponents = [*losses.parts.values(), *([judge.network] if judge else [])]
    with frozen(opponents):
        painted = paint(
            network,
            batch.lq,
            batch.fidelity,
            batch.gt.shape[-1],
            input_size,
            losses.above_level,
            sides=losses.weights.pyramid > 0,
        )
        terms = restorer_terms(losses, painted, batch, step)
        if judge is not None and losses.weights.gan:
            tilt = tilted(losses.weights.gan_tilt, batch.fidelity)
            logits = judge(painted.image)
            terms["l_g_gan"] = losses.weights.gan * tilt * generator_loss(logits, batch.mask)
        loss = torch.stack([term.mean() for term in terms.values()]).sum()
    parts = {name: term.mean() for name, term in terms.items()}
    if painted.w_plus is not None and losses.w_mean is not None:
        with torch.no_grad():
            away = distance_from_mean(painted.w_plus.float(), losses.w_mean, losses.w_variance)
        parts["code_distance"] = away.mean()
    return (loss, parts), painted


def codes_step(encoder: nn.Module, losses: RestorerLosses, batch: RestorerBatch) -> Loss:
    """The loss of the codes-first phase: only the way down of the encoder, no decoding.

    `encoder.codes(lq) -> (w_plus, degradation)`; `batch` holds generated faces only.
    """
    w_plus, degradation = encoder.codes(batch.lq)  # type: ignore[operator]
    terms = encoder_terms(losses, w_plus, degradation, batch)
    parts = {name: term.mean() for name, term in terms.items()}
    return torch.stack(list(parts.values())).sum(), parts


def discriminator_step(
    judge: Judge, batch: RestorerBatch, fake: Tensor, r1_weight: float = 0.0
) -> Loss:
    """The loss of D on real and (detached) restored faces.

    `r1_weight` > 0 adds R1 on the real ones, in float32: gamma / 2 times the interval when lazy.
    """
    fake = fake.detach().float()
    on_real, on_fake = judge(batch.gt), judge(fake)
    loss = discriminator_loss(on_real, on_fake, batch.mask).mean()
    parts = {"l_d": loss, "real_score": _mean(on_real), "fake_score": _mean(on_fake)}
    if r1_weight > 0:
        with _full_precision(batch.gt.device.type):
            real = batch.gt.detach().requires_grad_(True)
            penalty = r1_penalty(judge(real), real).mean()
        parts["l_d_r1"] = penalty
        loss = loss + r1_weight * penalty
    return loss, parts


def parts_step(
    discriminators: Mapping[str, nn.Module],
    losses: RestorerLosses,
    batch: RestorerBatch,
    fake: Tensor,
) -> Loss:
    """The loss of the part discriminators, summed over the parts."""
    assert batch.boxes is not None
    loss = part_discriminator_loss(
        discriminators,
        fake.detach().float(),
        batch.gt,
        batch.boxes,
        losses.part_sizes(fake.shape[-1]),
    ).mean()
    return loss, {"l_d_parts": loss}


def _mean(logits: Tensor | Sequence[Tensor]) -> Tensor:
    maps = [logits] if isinstance(logits, Tensor) else logits
    return torch.stack([m.detach().float().mean() for m in maps]).mean()


def _full_precision(device_type: str) -> AbstractContextManager[object]:
    return torch.autocast(device_type, enabled=False)
