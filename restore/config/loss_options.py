"""Options of the losses: pixels, perceptual, adversarial, fidelity."""

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
