"""Training of a restorer: its losses, the steps of G and of the discriminators, their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.losses.adversarial import (
    PART_SIZES,
    discriminator_loss,
    generator_loss,
    part_discriminator_loss,
    part_generator_losses,
    r1_penalty,
)
from restore.losses.reconstruction import (
    VggPerceptualLoss,
    charbonnier_loss,
    code_loss,
    degradation_loss,
    distance_from_mean,
    identity_loss,
    l1_loss,
    pyramid_loss,
)
from restore.networks.discriminators import PatchDiscriminator
from restore.networks.perceptual import LpipsLoss
from restore.networks.prior_restorer import PriorRestorer
from restore.training.distributed import Ranks
from restore.training.experiment import Progress
from restore.training.feed import RestorerBatch, RestorerFeed
from restore.training.fit import Trained, ema_update
from restore.training.precision import Stepper

Tilt = tuple[float, float]
EVEN: Tilt = (1.0, 1.0)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, 0 off; tilts are factors at fidelity 0 and 1, linear between."""

    pixel: float = 0.0
    charbonnier_epsilon: float | None = None
    """Charbonnier instead of L1."""
    pyramid: float = 0.0
    pyramid_until: int | None = None
    """Step from which the pyramid loss is left out."""
    lpips: float = 0.0
    perceptual: float = 0.0
    style: float = 0.0
    identity: float = 0.0
    degradation: float = 0.0
    degradation_shares: tuple[float, ...] | None = None
    codes: float = 0.0
    code_distance: float = 0.0
    gan: float = 0.0
    parts_gan: float = 0.0
    parts_style: float = 0.0
    pixel_tilt: Tilt = EVEN
    perceptual_tilt: Tilt = EVEN
    identity_tilt: Tilt = EVEN
    gan_tilt: Tilt = EVEN


@dataclass(frozen=True)
class RestorerLosses:
    """Weights, and the frozen networks that the losses read."""

    weights: LossWeights
    lpips: LpipsLoss | None = None
    perceptual: VggPerceptualLoss | None = None
    identity: nn.Module | None = None
    w_mean: Tensor | None = None
    w_variance: float = 1.0
    above_level: int = 0
    """Only maps above this level in px follow the fidelity."""
    window: int | None = None
    """px of the square in which larger images are compared by features."""
    parts: Mapping[str, nn.Module] = field(default_factory=dict)
    """Part discriminators, for their features."""

    def part_sizes(self, size: int) -> dict[str, int]:
        """Sides of the part crops in a face of `size` px, multiples of 4: name -> px."""
        return {name: max(8, round(px * size / 512 / 4) * 4) for name, px in PART_SIZES.items()}


@dataclass(frozen=True)
class Painted:
    """A restored batch in training: `image` [n,3,s,s]; `sides` of the pyramid, finest last."""

    image: Tensor
    sides: list[Tensor]
    w_plus: Tensor | None
    degradation: Tensor | None


def paint(
    network: nn.Module,
    lq: Tensor,
    fidelity: Tensor | None,
    size: int,
    input_size: int,
    above_level: int = 0,
    sides: bool = False,
) -> Painted:
    """Run a restorer: lq [n,3,r,r] is brought to `input_size`, the image has `size`.

    Networks of plugins give an image, or (image, side images) as GFPGAN's do, and no fidelity.
    """
    if lq.shape[-1] != input_size:
        lq = F.interpolate(lq, (input_size, input_size), mode="bilinear", align_corners=False)
        if network_is_channels_last(network):
            lq = lq.contiguous(memory_format=torch.channels_last)
    if not isinstance(network, PriorRestorer):
        made = network(lq)
        image, extra = made if isinstance(made, tuple) else (made, [])
        if image.shape[-1] != size:
            image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        return Painted(image, list(extra or []), None, None)
    painted_sides: list[Tensor] = []
    with_sides = getattr(network.encoder, "encode_with_side_images", None)
    if sides and with_sides is not None:
        encoding, painted_sides = with_sides(lq)
    else:
        encoding = network.encoder(lq)
    low = {k: v for k, v in encoding.conditions.items() if k <= above_level}
    high = {k: v for k, v in encoding.conditions.items() if k > above_level}
    conditions = {**low, **network.dialled(high, fidelity)}
    image = network.decoder.synthesis(encoding.w_plus, conditions, size)
    painted_sides = [s for s in painted_sides if s.shape[-1] <= size]
    return Painted(image, painted_sides, encoding.w_plus, encoding.degradation)


def network_is_channels_last(network: nn.Module) -> bool:
    """Whether a 3x3 convolution of the network lies in memory as channels_last."""
    for parameter in network.parameters():
        if parameter.ndim == 4 and min(parameter.shape[1:]) > 1:
            return parameter.is_contiguous(memory_format=torch.channels_last)
    return False


def tilted(tilt: Tilt, fidelity: Tensor) -> Tensor:
    """The factor of each sample `[n]`."""
    return tilt[0] + (tilt[1] - tilt[0]) * fidelity


def restorer_terms(
    losses: RestorerLosses, painted: Painted, batch: RestorerBatch, step: int
) -> dict[str, Tensor]:
    """Every term but the adversarial one of the whole face: name -> `[n]`, weighted.

    Half precision of the network ends here: all terms are computed in float32.
    """
    w, f = losses.weights, batch.fidelity
    image, gt, mask = painted.image.float(), batch.gt, batch.mask
    terms: dict[str, Tensor] = {}
    to_pixels = tilted(w.pixel_tilt, f)
    if w.pixel:
        epsilon = w.charbonnier_epsilon
        loss = (
            l1_loss(image, gt, mask) if epsilon is None
            else charbonnier_loss(image, gt, mask, epsilon)
        )  # fmt: skip
        terms["l_g_pix"] = w.pixel * to_pixels * loss
    if w.pyramid and painted.sides and (w.pyramid_until is None or step < w.pyramid_until):
        loss = pyramid_loss([s.float() for s in painted.sides], gt, mask)
        terms["l_g_pyramid"] = w.pyramid * to_pixels * loss
    to_features = tilted(w.perceptual_tilt, f)
    seen = [windows(x, losses.window, batch.places) for x in (image, gt, mask)]
    if losses.lpips is not None and w.lpips:
        terms["l_g_lpips"] = w.lpips * to_features * losses.lpips(*seen)
    if losses.perceptual is not None:
        perceptual, style = losses.perceptual(*seen)
        if w.perceptual:
            terms["l_g_percep"] = w.perceptual * to_features * perceptual
        if w.style:
            terms["l_g_style"] = w.style * to_features * style
    if losses.identity is not None and w.identity:
        loss = identity_loss(losses.identity, image, gt)
        terms["l_identity"] = w.identity * tilted(w.identity_tilt, f) * loss
    terms.update(_part_terms(losses, image, batch))
    terms.update(encoder_terms(losses, painted.w_plus, painted.degradation, batch))
    return terms


def windows(images: Tensor, window: int | None, places: Tensor | None) -> Tensor:
    """A square of `window` px of each image [n,c,h,w], at its place [n,2] in [0,1)."""
    room = images.shape[-1] - (window or 0)
    if window is None or places is None or room <= 0:
        return images
    corners = (places * (room + 1)).long().tolist()
    cut = [x[:, y : y + window, c : c + window] for x, (y, c) in zip(images, corners, strict=True)]
    return torch.stack(cut)


def encoder_terms(
    losses: RestorerLosses,
    w_plus: Tensor | None,
    degradation: Tensor | None,
    batch: RestorerBatch,
) -> dict[str, Tensor]:
    """The terms on what the encoder reads: degradation and codes."""
    w = losses.weights
    terms: dict[str, Tensor] = {}
    if w.degradation and degradation is not None and batch.truth is not None:
        loss = degradation_loss(degradation.float(), batch.truth, w.degradation_shares)
        terms["l_degradation"] = w.degradation * loss
    if w_plus is None:
        return terms
    if w.codes and batch.w is not None:
        loss = code_loss(w_plus.float(), batch.w, losses.w_variance, batch.known)
        terms["l_codes"] = w.codes * loss
    if w.code_distance and losses.w_mean is not None:
        loss = code_loss(w_plus.float(), losses.w_mean.expand(len(w_plus), -1), losses.w_variance)
        if batch.known is not None:
            loss = loss * (1 - batch.known)
        terms["l_code_distance"] = w.code_distance * loss
    return terms


def _part_terms(losses: RestorerLosses, image: Tensor, batch: RestorerBatch) -> dict[str, Tensor]:
    w = losses.weights
    if not losses.parts or batch.boxes is None or not (w.parts_gan or w.parts_style):
        return {}
    sizes = losses.part_sizes(image.shape[-1])
    made = part_generator_losses(
        losses.parts, image, batch.gt, batch.boxes, sizes, style=bool(w.parts_style)
    )
    to_gan = tilted(w.gan_tilt, batch.fidelity)
    terms = {"l_g_gan_parts": w.parts_gan * to_gan * made["part_gan"]}
    if w.parts_style:
        terms["l_g_style_parts"] = w.parts_style * to_gan * made["part_style"]
    return terms


Loss = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class FaceDiscriminator:
    """A discriminator of the whole face and the frozen network whose features it reads, if any."""

    network: nn.Module
    features: nn.Module | None = None

    def __call__(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits [n,1], or maps of them."""
        found: Tensor | list[Tensor]
        if isinstance(self.network, PatchDiscriminator) and self.features is not None:
            found = self.network(image, self.features(image))
        else:
            found = self.network(image)
        return found


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
    discriminator: FaceDiscriminator | None = None,
) -> tuple[Loss, Painted]:
    """The loss of G with its terms (means over the batch), and what was painted.

    `discriminator` None leaves the adversarial term out (before it starts).
    """
    opponents = [*losses.parts.values(), *([discriminator.network] if discriminator else [])]
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
        if discriminator is not None and losses.weights.gan:
            tilt = tilted(losses.weights.gan_tilt, batch.fidelity)
            logits = discriminator(painted.image)
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
    discriminator: FaceDiscriminator, batch: RestorerBatch, fake: Tensor, r1_weight: float = 0.0
) -> Loss:
    """The loss of D on real and (detached) restored faces.

    `r1_weight` > 0 adds R1 on the real ones, in float32: gamma / 2 times the interval when lazy.
    """
    fake = fake.detach().float()
    on_real, on_fake = discriminator(batch.gt), discriminator(fake)
    loss = discriminator_loss(on_real, on_fake, batch.mask).mean()
    parts = {"l_d": loss, "real_score": _mean(on_real), "fake_score": _mean(on_fake)}
    if r1_weight > 0:
        with _full_precision(batch.gt.device.type):
            real = batch.gt.detach().requires_grad_(True)
            penalty = r1_penalty(discriminator(real), real).mean()
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
        discriminator: FaceDiscriminator | None,
        stepper: Stepper,
        ranks: Ranks,
        plan: RestorerPlan,
    ) -> None:
        self.trained = trained
        self.feeds = feeds
        self.losses = losses
        self.discriminator = discriminator
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
        trains_d = self.discriminator is not None and step >= plan.d_from
        trains_parts = bool(self.losses.parts) and step >= plan.d_from
        fakes: list[Tensor] = []
        if step % plan.g_every == 0:
            discriminator = self.discriminator if step >= plan.gan_from else None
            computes = [partial(self._generator, b, step, discriminator, fakes) for b in batches]
            logged |= self.stepper.step(self.trained.optimisers["net_g"], computes)
        elif trains_d or trains_parts:
            fakes = [self.restored(b) for b in batches]
        if trains_d:
            assert self.discriminator is not None
            due = plan.r1_weight > 0 and step % plan.r1_every == 0
            r1 = plan.r1_weight / 2 * plan.r1_every if due else 0.0
            pairs = list(zip(batches, fakes, strict=True))
            computes = [partial(discriminator_step, self.discriminator, b, f, r1) for b, f in pairs]
            logged |= self.stepper.step(self.trained.optimisers["net_d"], computes)
        if trains_parts:
            pairs = list(zip(batches, fakes, strict=True))
            computes = [partial(parts_step, self.losses.parts, self.losses, b, f) for b, f in pairs]
            logged |= self.stepper.step(self.trained.optimisers["net_d_parts"], computes)
        return logged

    def _generator(
        self,
        batch: RestorerBatch,
        step: int,
        discriminator: FaceDiscriminator | None,
        fakes: list[Tensor],
    ) -> Loss:
        loss, painted = generator_step(
            self.network, self.losses, batch, step, self.plan.input_size, discriminator
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
