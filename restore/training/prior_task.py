"""Training of the prior: StyleGAN2 with mixing, lazy regularisers, adaptive augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from restore.networks.mobile_stylegan import PriorHeads
from restore.training.ada import AdaptiveStrength, augment, augment_draws
from restore.training.distributed import Ranks, summed
from restore.training.ema import ema_update
from restore.training.faces_in_frame import CropSource, FramedFaces, Framing, place_in_frame
from restore.training.precision import Stepper
from restore.training.progress import Progress
from restore.training.restorer_step import Loss
from restore.training.sample_draws import SampleDraws
from restore.training.stylegan_step import (
    discriminator_step,
    draw_latents,
    generated,
    generator_step,
    path_step,
)
from restore.training.task import Trained


@dataclass(frozen=True)
class PriorPlan:
    """Batch sizes in samples of one rank; `size` in px; intervals in steps."""

    batch_size: int
    size: int
    accumulation: int = 1
    ema_decay: float = 0.999
    mixing_prob: float = 0.9
    r1_weight: float = 10.0
    r1_every: int = 16
    path_weight: float = 2.0
    path_every: int = 4
    path_shrink: int = 2
    d_alone: int = 0
    """Steps in which D learns alone: a G that is good already would be spoilt by one at chance."""


class PriorTask:
    """The networks of a prior's training, and one step of it."""

    def __init__(
        self,
        trained: Trained,
        source: CropSource,
        framing: Framing,
        draws: SampleDraws,
        stepper: Stepper,
        ranks: Ranks,
        plan: PriorPlan,
        strength: AdaptiveStrength,
        heads: PriorHeads | None = None,
    ) -> None:
        self.trained = trained
        self.source = source
        self.framing = framing
        self.draws = draws
        self.stepper = stepper
        self.ranks = ranks
        self.plan = plan
        self.strength = strength
        self.heads = heads
        self.path_mean = torch.zeros((), device=ranks.device)
        self._masks: dict[int, Tensor] = {}  # of this step's real faces, by their first number

    @property
    def samples_per_step(self) -> int:
        """Of all ranks and micro-batches together."""
        return self.plan.batch_size * self.plan.accumulation * self.ranks.world

    @property
    def generator(self) -> nn.Module:
        """The live generator."""
        return self.trained.networks["net_g"]

    @property
    def discriminator(self) -> nn.Module:
        """The live discriminator."""
        return self.trained.networks["net_d"]

    def step(self, progress: Progress) -> dict[str, Tensor]:
        """One step of D and of G on the samples that come next; counts them in `progress`."""
        plan = self.plan
        self._masks.clear()
        micro = [self._numbers(progress, m) for m in range(plan.accumulation)]
        d_due = plan.r1_weight > 0 and progress.step % plan.r1_every == 0
        r1 = plan.r1_weight / 2 * plan.r1_every if d_due else 0.0
        optimisers = self.trained.optimisers
        logged = self.stepper.step(optimisers["net_d"], [partial(self._d, n, r1) for n in micro])
        both = progress.step >= plan.d_alone
        if both:
            logged |= self.stepper.step(optimisers["net_g"], [partial(self._g, n) for n in micro])
        if both and plan.path_weight > 0 and progress.step % plan.path_every == 0:
            small = [n[: max(1, len(n) // plan.path_shrink)] for n in micro]
            computes = [partial(self._path, n) for n in small]
            logged |= self.stepper.step(optimisers["net_g"], computes)
            self.path_mean = summed(self.path_mean, self.ranks) / self.ranks.world
        if self.strength.adaptive:
            sign = summed(logged["real_sign"], self.ranks) / self.ranks.world
            self.strength.update(float(sign), self.samples_per_step)
        logged["ada_strength"] = torch.tensor(self.strength.strength)
        progress.images += self.samples_per_step
        decay = min(plan.ema_decay, (1 + progress.step) / (10 + progress.step))
        for name, average in self.trained.averages.items():
            ema_update(average, self.trained.networks[name], decay)
        return logged

    def _numbers(self, progress: Progress, micro: int) -> list[int]:
        size = self.plan.batch_size
        first = progress.images + (micro * self.ranks.world + self.ranks.rank) * size
        return list(range(first, first + size))

    def real(self, numbers: list[int]) -> FramedFaces:
        """Real faces in the frame, with the mask of what they show."""
        crops = self.source.draw(numbers)
        return place_in_frame(crops, self.framing, self.draws, numbers)

    def _augment(self, numbers: list[int], images: Tensor, purpose: str) -> Tensor:
        """What D sees: black where the real faces' crops end, so that it cannot tell by that."""
        images = images * self._masks[numbers[0]]
        strength = self.strength.strength
        if strength <= 0:
            return images
        return augment(images, strength, augment_draws(self.draws, purpose, numbers))

    def _d(self, numbers: list[int], r1: float) -> Loss:
        with torch.no_grad():
            latents = draw_latents(self.generator, self.draws, numbers, self.plan.mixing_prob, "d")
            fake = generated(self.generator, latents, self.plan.size, self.heads)
        faces = self.real(numbers)
        self._masks[numbers[0]] = faces.mask  # G's step comes after D's, with the same numbers
        seen = partial(self._augment, numbers)
        return discriminator_step(self.discriminator, fake, faces.gt, seen, r1)

    def _g(self, numbers: list[int]) -> Loss:
        latents = draw_latents(self.generator, self.draws, numbers, self.plan.mixing_prob, "g")
        return generator_step(
            self.generator,
            self.discriminator,
            latents,
            partial(self._augment, numbers),
            self.plan.size,
            self.heads,
        )

    def _path(self, numbers: list[int]) -> Loss:
        latents = draw_latents(self.generator, self.draws, numbers, self.plan.mixing_prob, "path")
        weight = self.plan.path_weight * self.plan.path_every
        loss, self.path_mean = path_step(
            self.generator, latents, self.path_mean, weight, self.plan.size, self.heads
        )
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The mean path length, the augmentation's strength, the loss scale."""
        return {
            "path_mean": self.path_mean.cpu(),
            "strength": self.strength.state_dict(),
            "stepper": self.stepper.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.path_mean = state["path_mean"].to(self.ranks.device)
        self.strength.load_state_dict(state["strength"])
        self.stepper.load_state_dict(state["stepper"])
