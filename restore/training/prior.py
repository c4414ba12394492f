"""Training of the prior: StyleGAN2 with mixing, lazy regularisers and adaptive augmentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
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
from restore.training.distributed import Ranks, summed
from restore.training.experiment import Progress
from restore.training.feed import CropSource, FramedFaces, Framing, SampleDraws, place_in_frame
from restore.training.fit import Trained, ema_update
from restore.training.precision import Stepper
from restore.training.restorer import Loss, frozen

NUM_DRAWS = 24
_SHIFT = 0.125  # of the image's side, as in the paper's table of strengths


def augment(images: Tensor, strength: float, uniforms: Tensor) -> Tensor:
    """Images [n,3,s,s] in [-1,1] under the paper's geometric and colour changes (appendix B).

    Each change is made with chance `strength`; `uniforms` [n,24] in [0,1) are the draws of each
    sample. The border is a reflection; sampling is bilinear, where the paper pads with wavelets.
    """
    if strength <= 0:
        return images
    u = uniforms.to(images.device, torch.float32)
    out = images.float()
    grid = F.affine_grid(_geometry(u, strength, images.shape[-1]), list(out.shape), False)
    out = F.grid_sample(out, grid, padding_mode="reflection", align_corners=False)
    matrix, shift = _colour(u, strength)
    return (torch.einsum("nij,njhw->nihw", matrix, out) + shift[:, :, None, None]).to(images.dtype)


def augment_draws(draws: SampleDraws, purpose: str, numbers: Sequence[int]) -> Tensor:
    """The uniforms `[n,24]` of samples, row by row the sample's own."""
    rows = [draws.numpy(purpose, n).random(NUM_DRAWS) for n in numbers]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def _geometry(u: Tensor, p: float, size: int) -> Tensor:
    """Output -> input [n,2,3] in grid_sample's units, changes in the paper's order."""
    n = len(u)
    one, zero = torch.ones(n, device=u.device), torch.zeros(n, device=u.device)
    on = [u[:, i] < p for i in range(8)]
    # one minus a chance twice, so that rotation happens at all with chance p
    turn_p = 1 - math.sqrt(1 - min(p, 1.0))
    flip = torch.where(on[0] & (u[:, 8] < 0.5), -one, one)
    quarter = torch.where(on[1], torch.floor(u[:, 9] * 4) * (math.pi / 2), zero)
    whole = [
        torch.where(on[2], torch.round((2 * u[:, i] - 1) * _SHIFT * size) * 2 / size, zero)
        for i in (10, 11)
    ]
    scale = torch.where(on[3], torch.exp2(0.2 * _normal(u[:, 12])), one)
    first = torch.where(u[:, 4] < turn_p, (2 * u[:, 13] - 1) * math.pi, zero)
    stretch = torch.where(on[5], torch.exp2(0.2 * _normal(u[:, 14])), one)
    second = torch.where(u[:, 6] < turn_p, (2 * u[:, 15] - 1) * math.pi, zero)
    part = [torch.where(on[7], 2 * _SHIFT * _normal(u[:, i]), zero) for i in (16, 17)]
    steps = [
        _matrix(flip, zero, zero, one),
        _turn(quarter),
        _matrix(one, zero, zero, one, *whole),
        _matrix(1 / scale, zero, zero, 1 / scale),
        _turn(first),
        _matrix(1 / stretch, zero, zero, stretch),
        _turn(second),
        _matrix(one, zero, zero, one, *part),
    ]
    total = steps[0]
    for step in steps[1:]:
        total = total @ step
    return total[:, :2]


def _colour(u: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """RGB matrix [n,3,3] and shift [n,3]: brightness, contrast, luma flip, hue, saturation."""
    n = len(u)
    eye = torch.eye(3, device=u.device).expand(n, 3, 3)
    gray = torch.full((3,), 1 / math.sqrt(3), device=u.device)
    luma = torch.outer(gray, gray).expand(n, 3, 3)
    chance = torch.frac(u[:, 18:23] * 997)  # five chances and five sizes out of five draws
    sizes = u[:, 18:23]
    on = (chance < p).float()
    brightness = on[:, 0] * 0.2 * _normal(sizes[:, 0])
    contrast = torch.exp2(on[:, 1] * 0.5 * _normal(sizes[:, 1]))
    flip = on[:, 2] * (sizes[:, 2] < 0.5).float()
    hue = on[:, 3] * (2 * sizes[:, 3] - 1) * math.pi
    saturation = torch.exp2(on[:, 4] * _normal(sizes[:, 4]))
    matrix = eye * contrast[:, None, None]
    shift = (brightness * contrast)[:, None].expand(n, 3)
    flipper = eye - 2 * luma * flip[:, None, None]
    # Rodrigues' rotation about the gray axis
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=u.device) / math.sqrt(3)
    cos, sin = hue.cos()[:, None, None], hue.sin()[:, None, None]
    turner = cos * eye + sin * cross + (1 - cos) * luma
    saturater = luma + (eye - luma) * saturation[:, None, None]
    after = saturater @ turner @ flipper
    return after @ matrix, (after @ shift[:, :, None])[:, :, 0]


def _normal(u: Tensor) -> Tensor:
    """Unit normal from uniform, cut at about 3.5 deviations."""
    return torch.erfinv((2 * u - 1).clamp(-0.9995, 0.9995)) * math.sqrt(2)


def _matrix(
    a: Tensor, b: Tensor, c: Tensor, d: Tensor, x: Tensor | None = None, y: Tensor | None = None
) -> Tensor:
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    rows = (a, b, zero if x is None else x, c, d, zero if y is None else y, zero, zero, one)
    return torch.stack(rows, 1).view(-1, 3, 3)


def _turn(angle: Tensor) -> Tensor:
    return _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


@dataclass
class AdaptiveStrength:
    """The strength p, moved so that the mean sign of D on real images stays at `target`.

    p can go from 0 to 1 within `ramp_images`; it is adjusted every `every` steps (paper, 3.1).
    """

    strength: float = 0.0
    target: float = 0.6
    ramp_images: float = 500_000.0
    largest: float = 0.8
    adaptive: bool = True
    every: int = 4
    signs: float = 0.0
    images: int = 0
    steps: int = 0

    def update(self, mean_sign: float, images: int) -> None:
        """Take r_t of one step over all ranks and the number of its real images."""
        self.signs += mean_sign * images
        self.images += images
        self.steps += 1
        if self.adaptive and self.steps >= self.every:
            up = 1 if self.signs / self.images > self.target else -1
            moved = self.strength + up * self.images / self.ramp_images
            self.strength = min(self.largest, max(0.0, moved))
            self.signs, self.images, self.steps = 0.0, 0, 0

    def state_dict(self) -> dict[str, float]:
        """What changes."""
        return {k: getattr(self, k) for k in ("strength", "signs", "images", "steps")}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take it back."""
        for name, value in state.items():
            setattr(self, name, value)


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
    found: Tensor
    if isinstance(generator, MobileStyleGAN):
        if heads is None:
            return shrunken_picture(generator, latents.w_plus, size)
        found = heads(generator, latents.w_plus, size)
        return found
    found = generator.synthesis(latents.w_plus, noise=latents.noise)  # type: ignore[operator]
    return found


def shrunken_picture(generator: MobileStyleGAN, w_plus: Tensor, size: int) -> Tensor:
    """The full picture of a MobileStyleGAN [n,3,size,size], averaged; its heads take no part.

    Up to half of the full size the features are averaged in front of `to_rgb`: the same image for
    less memory.
    """
    styles, half = generator.styles(w_plus), generator.out_size // 2
    x = generator.features(styles, None, last=half)
    if size > half:
        found: Tensor = generator.to_rgb(x, styles[-1])
        return found
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
