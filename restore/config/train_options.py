"""Options of the `train` block: optimisers, schedule, budget, precision and loss weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from restore.config.loss_options import (
    FidelityOptions,
    GanOptions,
    PerceptualOptions,
    PixelLossOptions,
    below_zero,
    not_a_share,
)


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Adam or AdamW."""

    type: Literal["Adam", "AdamW"] = "Adam"
    lr: float
    betas: tuple[float, float] = (0.0, 0.99)
    """StyleGAN2's; an encoder without adversary likes (0.9, 0.99)."""
    weight_decay: float = 0.0
    eps: float = 1e-8

    def problems(self) -> Iterable[str]:
        yield from below_zero(self, "weight_decay", "eps")
        if self.lr <= 0:
            yield f"lr: found {self.lr}, expected above 0"
        if not all(0 <= b < 1 for b in self.betas):
            yield f"betas: found {list(self.betas)}, expected two numbers in 0..1"


@dataclass(frozen=True, kw_only=True)
class MultiStepOptions:
    """The rate is multiplied by gamma at each milestone (iterations)."""

    type: Literal["MultiStepLR"] = "MultiStepLR"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.5

    def problems(self) -> Iterable[str]:
        if list(self.milestones) != sorted(self.milestones):
            yield f"milestones: found {list(self.milestones)}, expected ascending iterations"


@dataclass(frozen=True, kw_only=True)
class CosineOptions:
    """The rate falls on a cosine to min_factor of itself, over the iterations or the minutes.

    by "time" reads train.max_minutes: a run that ends by the clock ends at a low rate.
    """

    type: Literal["CosineAnnealingLR"]
    min_factor: float = 0.05
    by: Literal["iter", "time"] = "iter"

    def problems(self) -> Iterable[str]:
        yield from not_a_share(self, "min_factor")


@dataclass(frozen=True, kw_only=True)
class ConstantOptions:
    """The rate stays."""

    type: Literal["ConstantLR"]


@dataclass(frozen=True, kw_only=True)
class GeneratedOptions:
    """Faces painted by the frozen prior, mixed into the batch: their w is known."""

    share: float = 0.0
    """Of each batch, rounded to whole samples."""
    truncation: tuple[float, float] = (0.7, 1.0)
    """psi is drawn between these for each face."""
    mixing_prob: float = 0.0
    """Two codes, crossing over at a random layer (StyleGAN2's style mixing)."""
    fresh: float = 0.5
    """Share of the draws that paint a new face; the others show one of the newest `keep` again."""
    keep: int = 4000

    def problems(self) -> Iterable[str]:
        yield from not_a_share(self, "share", "mixing_prob", "fresh")
        if self.keep < 1:
            yield f"keep: found {self.keep}, expected at least 1"


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Adaptive discriminator augmentation of the prior's training (arXiv 2006.06676)."""

    mode: Literal["off", "fixed", "adaptive"] = "off"
    prob: float = 0.0
    """Strength, at the start where it adapts."""
    target: float = 0.6
    """Wanted mean sign of D on real images."""
    ramp_kimg: float = 500.0
    """Images, in thousands, in which the strength can go from 0 to 1."""
    max_prob: float = 0.8

    def problems(self) -> Iterable[str]:
        yield from not_a_share(self, "prob", "max_prob")
        if self.ramp_kimg <= 0:
            yield f"ramp_kimg: found {self.ramp_kimg}, expected above 0"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """One training. Weights of losses are for means over pixels; 0 or an absent block is off."""

    optim_g: OptimizerOptions
    optim_d: OptimizerOptions | None = None
    optim_component: OptimizerOptions | None = None
    scheduler: MultiStepOptions | CosineOptions | ConstantOptions = field(
        default_factory=MultiStepOptions
    )
    total_iter: int
    """Optimiser steps of G."""
    max_minutes: float | None = None
    """Wall clock of this run; it ends with a complete state."""
    warmup_iter: int = -1
    """Iterations in which the rates rise from 0; -1 is none."""
    ema_decay: float | None = None
    """Per step, as BasicSR has it. Give this or ema_half_life_kimg."""
    ema_half_life_kimg: float | None = None
    """Thousands of images in which the EMA forgets half; 10 where neither is given."""

    batch_accumulation: int = 1
    """Micro-batches summed for one optimiser step."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    clip_grad_norm: float | None = None
    skip_nonfinite: int = 0
    """Steps with a loss or gradient that is not finite that may be left out in a row."""

    pixel_opt: PixelLossOptions | None = None
    l1_opt: PixelLossOptions | None = None
    """GFPGAN's L1_opt: of pyramid, component style and identity losses; its weight is a factor."""
    pyramid_loss_weight: float = 0.0
    remove_pyramid_loss: int | None = None
    """Iteration from which the pyramid loss is left out."""
    perceptual_opt: PerceptualOptions | None = None
    gan_opt: GanOptions | None = None
    gan_component_opt: GanOptions | None = None
    comp_style_weight: float = 0.0
    identity_weight: float = 0.0
    degradation_weight: float = 0.0
    degradation_weights: tuple[float, ...] | None = None
    """Of the six parameters of the degradation head, in its order; None: all the same."""
    code_weight: float = 0.0
    """Regression of the known w of generated faces."""
    codes_first_iter: int = 0
    """Iterations before all else in which the encoder alone regresses the w of generated faces and
    their degradation, without decoding: several times cheaper than a step of the whole."""
    codes_first_batch: int | None = None
    """Batch of that phase; batch_size_per_gpu when not given."""
    code_distance_weight: float = 0.0
    """Pulls the codes of real faces to the prior's mean, in units of its variance."""
    generated: GeneratedOptions = field(default_factory=GeneratedOptions)
    fidelity: FidelityOptions = field(default_factory=FidelityOptions)

    r1_reg_weight: float = 10.0
    net_d_iters: int = 1
    """A step of G is made every net_d_iters iterations."""
    net_d_init_iters: int = 0
    net_d_reg_every: int = 16
    path_reg_weight: float = 2.0
    """StyleGAN2's path length, of the prior's training alone, like the next four."""
    net_g_reg_every: int = 4
    path_batch_shrink: int = 2
    mixing_prob: float = 0.9
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def problems(self) -> Iterable[str]:
        yield from below_zero(
            self, "pyramid_loss_weight", "comp_style_weight", "identity_weight",
            "degradation_weight", "code_weight", "code_distance_weight", "r1_reg_weight",
            "path_reg_weight", "net_d_init_iters", "skip_nonfinite", "clip_grad_norm",
            "codes_first_iter",
        )  # fmt: skip
        yield from not_a_share(self, "mixing_prob", "ema_decay")
        for name in (
            "total_iter", "batch_accumulation", "net_d_iters", "net_d_reg_every",
            "net_g_reg_every", "path_batch_shrink",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                yield f"{name}: found {getattr(self, name)}, expected at least 1"
        for name in ("max_minutes", "ema_half_life_kimg"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                yield f"{name}: found {value}, expected above 0"
        yield from self._missing_partners()

    def _missing_partners(self) -> Iterable[str]:
        """Keys that need others."""
        if self.ema_decay is not None and self.ema_half_life_kimg is not None:
            yield "ema_decay: given beside ema_half_life_kimg; give one of the two"
        if self.gan_opt is not None and self.optim_d is None:
            yield "optim_d: missing; gan_opt needs an optimiser for the discriminator"
        if self.gan_component_opt is not None and self.optim_component is None:
            yield "optim_component: missing; gan_component_opt needs it"
        if self.comp_style_weight and self.gan_component_opt is None:
            yield "comp_style_weight: needs gan_component_opt, whose discriminators it reads"
        timed = isinstance(self.scheduler, CosineOptions) and self.scheduler.by == "time"
        if timed and self.max_minutes is None:
            yield "scheduler.by: 'time' needs train.max_minutes"
        if self.degradation_weights is not None and len(self.degradation_weights) != 6:
            found = len(self.degradation_weights)
            yield f"degradation_weights: found {found} values, expected 6"
        if self.code_weight and not self.generated.share:
            yield "code_weight: needs generated.share above 0, whose w is known"

    def ema_decay_for(self, batch_size: int) -> float:
        """The factor of the EMA per step of `batch_size` images (of all processes)."""
        if self.ema_decay is not None:
            return self.ema_decay
        half_life = 10.0 if self.ema_half_life_kimg is None else self.ema_half_life_kimg
        return 0.5 ** (batch_size / (half_life * 1000))
