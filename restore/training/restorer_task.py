"""Training of a restorer: codes first, then G, D and the part discriminators in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restore.training.distributed import Ranks
from restore.training.ema import ema_update
from restore.training.precision import Stepper
from restore.training.progress import Progress
from restore.training.restorer_feed import RestorerFeed
from restore.training.restorer_losses import RestorerBatch, RestorerLosses, paint
from restore.training.restorer_step import (
    Judge,
    Loss,
    codes_step,
    discriminator_step,
    generator_step,
    parts_step,
)
from restore.training.task import Trained


@dataclass(frozen=True)
class RestorerPlan:
    """When what is done, in steps; batch sizes in samples of one rank."""

    accumulation: int = 1
    input_size: int = 512
    ema_decay: float = 0.999
    ema_batch: int = 1
    """Images of the steps that `ema_decay` is meant for."""
    codes_first: int = 0
    """Steps of the codes-first phase."""
    codes_batch: int = 8
    gan_from: int = 0
    d_from: int = 0
    g_every: int = 1
    r1_weight: float = 0.0
    r1_every: int = 16
    channels_last: bool = False


@dataclass(frozen=True)
class TrainingSet:
    """A feed, how many samples a rank takes of it in a micro-batch, and how often."""

    feed: RestorerFeed
    batch_size: int
    share: float = 1.0


class RestorerTask:
    """The networks of a restorer's training, and one step of it."""

    def __init__(
        self,
        trained: Trained,
        feeds: Sequence[TrainingSet],
        losses: RestorerLosses,
        judge: Judge | None,
        stepper: Stepper,
        ranks: Ranks,
        plan: RestorerPlan,
    ) -> None:
        self.trained = trained
        self.feeds = feeds
        self.losses = losses
        self.judge = judge
        self.stepper = stepper
        self.ranks = ranks
        self.plan = plan

    @property
    def feed(self) -> RestorerFeed:
        """The feed of the first training set."""
        return self.feeds[0].feed

    def set_at(self, step: int) -> TrainingSet:
        """The training set that a step takes its batch from, the same on all ranks."""
        shares = np.cumsum([one.share for one in self.feeds])
        place = self.feed.draws.numpy("train_set", step).random() * shares[-1]
        return self.feeds[int(np.searchsorted(shares, place, side="right"))]

    @property
    def network(self) -> nn.Module:
        """The live restorer."""
        return self.trained.networks["net_g"]

    def step(self, progress: Progress) -> dict[str, Tensor]:
        """One step on the samples that come next; counts them in `progress`."""
        if progress.step < self.plan.codes_first:
            logged = self._codes(progress)
            count = self.plan.codes_batch * self.ranks.world
            progress.code_images += count
            progress.images += count
        else:
            one = self.set_at(progress.step)
            logged = self._restore(progress, one)
            count = one.batch_size * self.plan.accumulation * self.ranks.world
            progress.images += count
        # Early on the average follows the weights: their first state is not worth remembering.
        decay = self.plan.ema_decay ** (count / self.plan.ema_batch)
        decay = min(decay, (1 + progress.step) / (10 + progress.step))
        for name, average in self.trained.averages.items():
            ema_update(average, self.trained.networks[name], decay)
        return logged

    def numbers(self, progress: Progress, micro: int, size: int) -> list[int]:
        """The sample numbers of this rank's micro-batch: every sample goes to one rank."""
        first = progress.images - progress.code_images
        first += (micro * self.ranks.world + self.ranks.rank) * size
        return list(range(first, first + size))

    def _codes(self, progress: Progress) -> dict[str, Tensor]:
        first = progress.code_images + self.ranks.rank * self.plan.codes_batch
        batch = self.feed.codes_batch(list(range(first, first + self.plan.codes_batch)))
        batch = self._laid_out(self._resized(batch))
        encoder = self.network.encoder
        compute = partial(codes_step, encoder, self.losses, batch)  # type: ignore[arg-type]
        return self.stepper.step(self.trained.optimisers["net_g"], [compute])

    def _restore(self, progress: Progress, one: TrainingSet) -> dict[str, Tensor]:
        step, plan = progress.step, self.plan
        batches = [
            self._laid_out(one.feed.batch(self.numbers(progress, micro, one.batch_size), step))
            for micro in range(plan.accumulation)
        ]
        logged: dict[str, Tensor] = {}
        trains_d = self.judge is not None and step >= plan.d_from
        trains_parts = bool(self.losses.parts) and step >= plan.d_from
        fakes: list[Tensor] = []
        if step % plan.g_every == 0:
            judge = self.judge if step >= plan.gan_from else None
            computes = [partial(self._generator, b, step, judge, fakes) for b in batches]
            logged |= self.stepper.step(self.trained.optimisers["net_g"], computes)
        elif trains_d or trains_parts:
            fakes = [self.restored(b) for b in batches]
        if trains_d:
            assert self.judge is not None
            due = plan.r1_weight > 0 and step % plan.r1_every == 0
            r1 = plan.r1_weight / 2 * plan.r1_every if due else 0.0
            pairs = list(zip(batches, fakes, strict=True))
            computes = [partial(discriminator_step, self.judge, b, f, r1) for b, f in pairs]
            logged |= self.stepper.step(self.trained.optimisers["net_d"], computes)
        if trains_parts:
            pairs = list(zip(batches, fakes, strict=True))
            computes = [partial(parts_step, self.losses.parts, self.losses, b, f) for b, f in pairs]
            logged |= self.stepper.step(self.trained.optimisers["net_d_parts"], computes)
        return logged

    def _generator(
        self, batch: RestorerBatch, step: int, judge: Judge | None, fakes: list[Tensor]
    ) -> Loss:
        loss, painted = generator_step(
            self.network, self.losses, batch, step, self.plan.input_size, judge
        )
        fakes.append(painted.image.detach())
        return loss

    @torch.no_grad()
    def restored(self, batch: RestorerBatch) -> Tensor:
        """What G makes of a batch, without gradients."""
        with self.stepper.autocast():
            return paint(
                self.network,
                batch.lq,
                batch.fidelity,
                batch.gt.shape[-1],
                self.plan.input_size,
                self.losses.above_level,
            ).image

    def _resized(self, batch: RestorerBatch) -> RestorerBatch:
        """The codes-first phase reads lq directly: bring it to the encoder's size."""
        size = self.plan.input_size
        if batch.lq.shape[-1] == size:
            return batch
        lq = nn.functional.interpolate(batch.lq, (size, size), mode="bilinear")
        return replace(batch, lq=lq)

    def _laid_out(self, batch: RestorerBatch) -> RestorerBatch:
        if not self.plan.channels_last:
            return batch
        moved = {
            name: getattr(batch, name).contiguous(memory_format=torch.channels_last)
            for name in ("lq", "gt")
        }
        return replace(batch, **moved)

    def state_dict(self) -> dict[str, Any]:
        """The loss scale; all else is in `trained` and in the sample numbers."""
        return {"stepper": self.stepper.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.stepper.load_state_dict(state["stepper"])
