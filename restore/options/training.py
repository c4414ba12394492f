"""Options of a training: optimisers, schedules, losses, the fidelity that is drawn, saving."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal


def gfpgan_layer_weights() -> dict[str, float]:
    """VGG19 layer -> weight, as GFPGAN has them."""
    return {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}


def below_zero(options: object, *names: str) -> Iterable[str]:
    """Problems of numbers that must not be negative."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 0:
            yield f"{name}: found {value}, expected at least 0"


def not_a_share(options: object, *names: str) -> Iterable[str]:
    """Problems of numbers that must lie in [0,1]."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1:
            yield f"{name}: found {value}, expected 0..1"


@dataclass(frozen=True, kw_only=True)
class PixelLossOptions:
    """L1 or Charbonnier between restored and gt, in [-1,1] units."""

    type: Literal["L1Loss", "CharbonnierLoss"] = "L1Loss"
    loss_weight: float = 1.0
    reduction: Literal["mean"] = "mean"
    eps: float = 1e-3
    """Of Charbonnier alone."""

    def problems(self) -> Iterable[str]:
        yield from below_zero(self, "loss_weight")


@dataclass(frozen=True, kw_only=True)
class PerceptualOptions:
    """GFPGAN's VGG19 loss, or LPIPS on any feature network; both networks come by file."""

    type: Literal["PerceptualLoss", "LPIPSLoss"] = "PerceptualLoss"
    network_path: str | None = None
    """Weights of the feature network: VGG19, or SqueezeNet 1.1, told by its keys. Needed to train;
    the published option files do not have it (BasicSR downloads VGG19 by itself)."""
    heads_path: str | None = None
    """Of LPIPSLoss: the linear heads; those of the installed lpips package when not given."""
    layer_weights: Mapping[str, float] = field(default_factory=gfpgan_layer_weights)
    """Weight of each activation, in the network's order."""
    window_size: int | None = None
    """px of a square, drawn at random for each sample, that larger images are compared in."""
    vgg_type: Literal["vgg19"] = "vgg19"
    use_input_norm: Literal[True] = True
    range_norm: Literal[True] = True
    perceptual_weight: float = 1.0
    style_weight: float = 0.0
    criterion: Literal["l1"] = "l1"

    def problems(self) -> Iterable[str]:
        yield from below_zero(self, "perceptual_weight", "style_weight")
        if any(weight < 0 for weight in self.layer_weights.values()):
            yield f"layer_weights: found {dict(self.layer_weights)}, expected at least 0"


@dataclass(frozen=True, kw_only=True)
class GanOptions:
    """The adversarial loss of G; the non-saturating form, whatever it is called.

    BasicSR's `vanilla` (BCE with logits) on labels 1 and 0 is the same function.
    """

    type: Literal["GANLoss"] = "GANLoss"
    gan_type: Literal["wgan_softplus", "vanilla"] = "wgan_softplus"
    loss_weight: float = 0.1
    real_label_val: float = 1.0
    fake_label_val: float = 0.0
    start_iter: int = 0
    """Iteration from which G feels it; D trains from net_d_init_iters before."""
    feature_matching_weight: float = 0.0

    def problems(self) -> Iterable[str]:
        yield from below_zero(self, "loss_weight", "start_iter", "feature_matching_weight")
        if (self.real_label_val, self.fake_label_val) != (1.0, 0.0):
            yield "real_label_val: soft labels are not supported; expected 1.0 and 0.0"


@dataclass(frozen=True, kw_only=True)
class FidelityOptions:
    """The dial `-w`: per sample a fidelity f in [0,1] scales the SFT maps and tilts the losses.

    mode "fixed" trains at `value` alone; "random" draws f for each sample: 0 with zero_prob, 1 with
    one_prob, else uniform in [0,1].
    """

    mode: Literal["fixed", "random"] = "fixed"
    value: float = 1.0
    zero_prob: float = 0.2
    one_prob: float = 0.4
    codes_only_iter: int = 0
    """Iterations at f = 0 before anything else: codes first, then maps."""
    start_iter: int = 0
    """Iteration from which f is drawn; before it f is 1 (after codes_only_iter)."""
    above_level: int = 0
    """Only maps above this level in px are scaled by f; 0 scales all of them."""
    pixel_tilt: tuple[float, float] = (1.0, 1.0)
    """Factor of pixel and pyramid losses at f = 0 and at f = 1, linear between."""
    perceptual_tilt: tuple[float, float] = (1.0, 1.0)
    identity_tilt: tuple[float, float] = (1.0, 1.0)
    gan_tilt: tuple[float, float] = (1.0, 1.0)

    def problems(self) -> Iterable[str]:
        yield from not_a_share(self, "value", "zero_prob", "one_prob")
        yield from below_zero(self, "codes_only_iter", "start_iter", "above_level")
        if self.zero_prob + self.one_prob > 1:
            yield "zero_prob: with one_prob above 1; expected a sum of at most 1"
        for name in ("pixel_tilt", "perceptual_tilt", "identity_tilt", "gan_tilt"):
            if min(getattr(self, name)) < 0:
                yield f"{name}: found {getattr(self, name)}, expected at least 0"


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
        found: float = 0.5 ** (batch_size / (half_life * 1000))
        return found
