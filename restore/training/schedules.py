"""Learning rates as functions of the step: nothing to save, nothing that can run out of step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from restore.options.training import ConstantOptions, CosineOptions, MultiStepOptions, TrainOptions


@dataclass(frozen=True)
class Schedule:
    """What factor of its base rate an optimiser has.

    Warm-up rises linearly over `warmup` steps; then the curve: a constant, a factor `gamma` at
    each of the milestones (steps), or a cosine that ends at `min_factor`.
    """

    curve: MultiStepOptions | CosineOptions | ConstantOptions
    total: int
    warmup: int = 0

    def factor(self, step: int, time_share: float = 0.0) -> float:
        """The factor at `step`, counted from 0; `time_share` of the run's minutes has passed."""
        rise = (step + 1) / (self.warmup + 1) if step < self.warmup else 1.0
        if isinstance(self.curve, MultiStepOptions):
            return rise * self.curve.gamma ** sum(step >= m for m in self.curve.milestones)
        if isinstance(self.curve, CosineOptions):
            share = time_share if self.curve.by == "time" else step / self.total
            swing = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
            return rise * (self.curve.min_factor + (1 - self.curve.min_factor) * swing)
        return rise


def schedule_of(options: TrainOptions) -> Schedule:
    """The schedule that an option file asks for."""
    return Schedule(options.scheduler, options.total_iter, max(0, options.warmup_iter))
