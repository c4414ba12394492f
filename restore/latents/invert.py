"""Inversion: codes in W, W+ or S found by gradients, what they are to match, pivotal tuning.

An image is matched as pixels over a pyramid, and as features where a network is given (LPIPS).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from restore.errors import InputError
from restore.latents.codes import Codes, check_size, noise_maps, paint, styles_of
from restore.latents.spaces import (
    Generator,
    WStatistics,
    seeds_to_w_plus,
    style_spread,
    styles_to_w_plus,
    to_w_plus,
    truncate,
)
from restore.networks.perceptual import LpipsLoss, at_size, masked_mean

LEAST_SIDE = 16  # px: below it a level of the pyramid says no more than a mean colour
LPIPS_LEAST = 31  # px of a side below which SqueezeNet's deepest layers are empty


@dataclass(frozen=True)
class Target:
    """An image [n,3,s,s] RGB in [-1,1] that is to be matched where `mask` [n,1,s,s] is not 0.

    `finest`: px of the finest level of the pyramid that counts; a rough scribble is matched in its
    colours alone by 16 or 32. None: the image's own size, and features as well. `through`: what the
    painted image goes through first, a degradation whose result has the target's size.
    """

    image: Tensor
    mask: Tensor | None = None
    finest: int | None = None
    through: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.image.shape)
        if self.image.ndim != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise InputError(f"a target has shape {shape}; expected square images [n,3,s,s]")
        if self.mask is not None and tuple(self.mask.shape) != (shape[0], 1, *shape[2:]):
            raise InputError(
                f"the mask of a target has shape {tuple(self.mask.shape)}; expected "
                f"{(shape[0], 1, *shape[2:])}"
            )

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return int(self.image.shape[-1])


@dataclass(frozen=True)
class MatchWeights:
    """Shares of the parts of the loss.

    `pyramid`: mean L1 over the levels from the image's size down to 16 px. `features`: LPIPS.
    `plausible`: squared distance of codes from the mean, in deviations (Mahalanobis). `together`:
    mean squared distance of the rows of a W+ from their mean, in deviations. `noise`: correlation
    of noise maps with their shifted selves (StyleGAN2, appendix D).
    """

    pyramid: float = 2.0
    features: float = 1.0
    plausible: float = 0.01
    together: float = 0.0
    noise: float = 1.0


def image_loss(
    image: Tensor, targets: Sequence[Target], weights: MatchWeights, features: LpipsLoss | None
) -> Tensor:
    """Loss [n] of images [n,3,s,s] about [-1,1] against targets of the same size, or of the size
    that their `through` gives."""
    total = image.new_zeros(len(image))
    for target in targets:
        seen = image if target.through is None else target.through(image)
        if target.size != seen.shape[-1]:
            raise InputError(
                f"a target of {target.size} px for an image of {seen.shape[-1]} px; give one size"
            )
        part = weights.pyramid * pyramid_distance(seen, target)
        wanted = target.finest is None and weights.features > 0 and target.size >= LPIPS_LEAST
        if features is not None and wanted:
            # features of a masked region still see its surroundings: both sides show the same there
            shown = seen
            if target.mask is not None:
                shown = seen * target.mask + target.image * (1 - target.mask)
            part = part + weights.features * features(shown, target.image, target.mask)
        total = total + part
    return total


def pyramid_distance(image: Tensor, target: Target) -> Tensor:
    """Mean L1 within the mask over the levels of the pyramid [n]: each says as much as the next.

    A level is the masked mean of 2x2 pixels of the level before, so that nothing from outside the
    mask comes in.
    """
    a, b, mask = image, target.image, target.mask
    if mask is not None:
        a, b = a * mask, b * mask
    levels = []
    size = target.size
    while True:
        if target.finest is None or size <= target.finest:
            difference = (a - b).abs()
            if mask is None:
                levels.append(difference.mean((1, 2, 3)))
            else:
                share = at_size(mask, a.shape[-2:], a.dtype)
                levels.append(masked_mean(difference / share.clamp_min(1e-3), share))
        if size // 2 < LEAST_SIDE:
            break
        a, b, size = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2), size // 2
    if not levels:
        raise InputError(
            f"finest {target.finest} px: the pyramid of a target of {target.size} px ends at "
            f"{size} px; give that or more"
        )
    return sum(levels[1:], levels[0]) / len(levels)


def noise_correlation(noise: Tensor) -> Tensor:
    """How far noise maps [n,1,r,r] are from noise: [n], about 0 for independent values.

    Squared mean products with the map shifted by one pixel, over a pyramid down to 8 px
    (StyleGAN2, appendix D, eq. 8), of the map brought to mean 0 and deviation 1.
    """
    middle = noise.mean((1, 2, 3), keepdim=True)
    x = (noise - middle) / noise.std((1, 2, 3), keepdim=True).clamp_min(1e-8)
    total = noise.new_zeros(len(noise))
    while True:
        for dim in (2, 3):
            total = total + (x * x.roll(1, dim)).mean((1, 2, 3)).square()
        if x.shape[-1] <= 8:
            return total
        x = F.avg_pool2d(x, 2) * 2  # of independent values the deviation stays 1


SPACES = ("w", "w_plus", "s")


@dataclass(frozen=True)
class CodeVariables:
    """What is moved: `moved` tensors that need gradients, each a step from the start in standard
    deviations, so that one learning rate serves every space and layer.

    `space`: "w", "w_plus" or "s". `start`: [n,w_dim], [n,k,w_dim], or a list of styles [n,c].
    `along_axes`: steps in W and W+ go along the principal axes of w, each in its own deviation.
    """

    space: str
    generator: Generator
    statistics: WStatistics
    start: tuple[Tensor, ...]
    units: tuple[Tensor, ...]
    moved: tuple[Tensor, ...]
    along_axes: bool = False

    def values(self) -> list[Tensor]:
        """Where the variables stand, in the units of the space."""
        if self.along_axes:
            return [self.start[0] + self.moved[0] @ self.statistics.axes]
        return [s + u * m for s, u, m in zip(self.start, self.units, self.moved, strict=True)]

    def styles(self) -> list[Tensor]:
        """S of the variables, differentiable."""
        values = self.values()
        if self.space == "s":
            return values
        w_plus = to_w_plus(self.generator, values[0]) if self.space == "w" else values[0]
        return self.generator.styles(w_plus)

    def squared_distance(self) -> Tensor:
        """Squared distance [n] from the mean in deviations: about 1 for what the mapping gives."""
        values = self.values()
        if self.space == "s":
            spread = style_spread(self.generator, self.statistics)
            parts = [((v - m) / s).square() for v, (m, s) in zip(values, spread, strict=True)]
            return torch.cat(parts, 1).mean(1)
        squares = self.statistics.squared_distance(values[0])
        return squares if self.space == "w" else squares.mean(1)

    def row_spread(self) -> Tensor:
        """Mean squared distance [n] of the rows of W+ from their mean, in deviations; else 0."""
        if self.space != "w_plus":
            return self.moved[0].new_zeros(len(self.moved[0]))
        w_plus = self.values()[0]
        distance = (w_plus - w_plus.mean(1, keepdim=True)).square().mean((1, 2))
        return distance / self.statistics.std**2

    @torch.no_grad()
    def codes(self) -> Codes:
        """The codes as they stand now, without gradients."""
        values = [v.detach().clone() for v in self.values()]
        if self.space == "s":
            return Codes(styles_to_w_plus(self.generator, values, cut=0.1)[0], tuple(values))
        if self.space == "w":
            return Codes(to_w_plus(self.generator, values[0]).contiguous())
        return Codes(values[0])


def code_variables(
    generator: Generator,
    statistics: WStatistics,
    space: str,
    w_plus: Tensor,
    along_axes: bool = False,
) -> CodeVariables:
    """Variables of a space at the start W+ [n,k,w_dim]; of a W the mean of its rows.

    `along_axes` keeps W and W+ to the directions in which the mapping's codes vary, and moves along
    each as far as they do; entries by themselves also go where no face is, and fit more.

    Raises InputError for another space or a start of another shape.
    """
    if space not in SPACES:
        raise InputError(f"space {space!r}: expected one of {', '.join(SPACES)}")
    expected = (generator.num_styles, generator.w_dim)
    if w_plus.ndim != 3 or tuple(w_plus.shape[1:]) != expected:
        raise InputError(
            f"the start has shape {tuple(w_plus.shape)}; expected W+ "
            f"[n,{expected[0]},{expected[1]}]"
        )
    w_plus = w_plus.detach()
    if space == "s":
        start = tuple(s.detach() for s in generator.styles(w_plus))
        units = tuple(std for _, std in style_spread(generator, statistics))
    else:
        start = (w_plus.mean(1) if space == "w" else w_plus.contiguous(),)
        # One unit for all entries: in those of its own deviation a weak entry would hardly move.
        units = (torch.full((), statistics.std, device=w_plus.device),)
    if along_axes and space != "s":
        count = len(statistics.axes)
        steps = start[0].new_zeros(*start[0].shape[:-1], count).requires_grad_()
        return CodeVariables(space, generator, statistics, start, units, (steps,), True)
    moved = tuple(torch.zeros_like(s).requires_grad_() for s in start)
    return CodeVariables(space, generator, statistics, start, units, moved)


def mean_start(generator: Generator, count: int) -> Tensor:
    """The mean face as a start: W+ [count,k,w_dim]."""
    return generator.w_mean.expand(count, generator.num_styles, -1).clone()


@dataclass(frozen=True)
class InvertOptions:
    """How long and how fast.

    `steps` of Adam at `rate` (deviations a step), raised over the first 5 % and lowered along a
    cosine over the last quarter (StyleGAN2, appendix D). `noise`: the noise maps move as well,
    from half of the steps on, when the code has found the face. `half`: bfloat16 convolutions.
    `along_axes`: W and W+ move along the principal axes of w only: more of a face, less of a fit.
    """

    steps: int = 150
    rate: float = 0.1
    noise: bool = False
    noise_rate: float = 0.02
    half: bool = False
    along_axes: bool = False
    weights: MatchWeights = field(default_factory=MatchWeights)

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0:
            raise InputError(
                f"steps {self.steps}, rate {self.rate}: expected 1 or more steps, a rate above 0"
            )


@dataclass(frozen=True)
class Inversion:
    """Codes found; `losses` [steps,n] along the way; `seconds` for the whole batch."""

    codes: Codes
    losses: Tensor
    seconds: float


def invert(
    generator: Generator,
    targets: Sequence[Target],
    space: str,
    start: Tensor,
    statistics: WStatistics,
    options: InvertOptions | None = None,
    features: LpipsLoss | None = None,
    progress: str | None = None,
    size: int | None = None,
) -> Inversion:
    """The codes in `space` ("w", "w_plus", "s") whose pictures match the targets best.

    `start`: W+ [n,k,w_dim] (`mean_start`, or an encoder's); targets: [n,3,s,s] of one size that
    `check_size` takes, each face by itself. `features`: LPIPS on a network of the user's file;
    without it pixels alone are matched. `progress`: a bar's label. `size`: px to paint where the
    target is met through a degradation.
    """
    options = options or InvertOptions()
    if not targets:
        raise InputError("an inversion needs one target or more, got none")
    size = check_size(generator, targets[0].size if size is None else size)
    variables = code_variables(generator, statistics, space, start, options.along_axes)
    free = _free_noise(generator, len(start)) if options.noise else None
    groups = [list(variables.moved), list(free.maps.values()) if free else []]
    optimiser = torch.optim.Adam([{"params": group} for group in groups], betas=(0.9, 0.99))
    began, losses = time.perf_counter(), []
    for step in tqdm(range(options.steps), desc=progress, unit="step", disable=progress is None):
        moving = free if free is not None and 2 * step >= options.steps else None
        factor = _rate_factor(step / options.steps)
        optimiser.param_groups[0]["lr"] = options.rate * factor
        optimiser.param_groups[1]["lr"] = options.noise_rate * factor
        image = _picture(generator, variables.styles(), size, moving, options.half)
        loss = image_loss(image, targets, options.weights, features)
        loss = loss + _code_loss(variables, moving, options.weights)
        losses.append(loss.detach().cpu())
        optimiser.zero_grad(set_to_none=True)
        loss.sum().backward()
        optimiser.step()
        if moving is not None:
            moving.hold()
    found = variables.codes()
    if free is not None:
        found = replace(found, noise={k: v.detach() for k, v in free.maps.items()})
    return Inversion(found, torch.stack(losses), time.perf_counter() - began)


def _picture(
    generator: Generator, styles: Sequence[Tensor], size: int, noise: _FreeNoise | None, half: bool
) -> Tensor:
    """The picture of S, with the maps that move where there are any."""
    maps = noise_maps(generator) if noise is None else noise.maps
    if half:  # adding float32 maps to bfloat16 features costs a fifth of the time
        maps = {name: value.bfloat16() for name, value in maps.items()}
    with torch.autocast(styles[0].device.type, torch.bfloat16, enabled=half):
        return paint(generator, styles, size, maps).float()


def _code_loss(variables: CodeVariables, noise: _FreeNoise | None, weights: MatchWeights) -> Tensor:
    """What the codes and noise maps cost by themselves [n]."""
    loss = variables.moved[0].new_zeros(len(variables.moved[0]))
    if weights.plausible > 0:
        loss = loss + weights.plausible * variables.squared_distance()
    if weights.together > 0:
        loss = loss + weights.together * variables.row_spread()
    if noise is not None and weights.noise > 0:
        loss = loss + weights.noise * noise.excess()
    return loss


@dataclass(frozen=True)
class _FreeNoise:
    """Noise maps [n,1,r,r] that move, what they deviated by and how they correlated before."""

    maps: dict[str, Tensor]
    spreads: dict[str, Tensor]
    correlations: dict[str, Tensor]

    @torch.no_grad()
    def hold(self) -> None:
        """Each map keeps its deviation: noise must not become a picture of its own."""
        for name, value in self.maps.items():
            value.mul_(self.spreads[name] / value.std((1, 2, 3), keepdim=True).clamp_min(1e-8))

    def excess(self) -> Tensor:
        """Mean correlation [n] above that of the maps as they were."""
        now = {name: noise_correlation(value) for name, value in self.maps.items()}
        above = [(now[name] - self.correlations[name]).clamp_min(0) for name in now]
        return torch.stack(above).mean(0)


def _free_noise(generator: Generator, count: int) -> _FreeNoise:
    stored = noise_maps(generator)
    if not stored:
        raise InputError("this generator has no noise maps; leave noise out")
    return _FreeNoise(
        {k: v.detach().repeat(count, 1, 1, 1).requires_grad_() for k, v in stored.items()},
        {k: v.std() for k, v in stored.items()},
        {k: noise_correlation(v) for k, v in stored.items()},
    )


def _rate_factor(done: float) -> float:
    """Factor of the learning rate at a share of the way."""
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / 0.25))
    return min(1.0, down) * min(1.0, (done + 1e-3) / 0.05)


@dataclass(frozen=True)
class TuneOptions:
    """`steps` of Adam at `rate` on the weights of the synthesis; the mapping stays.

    `local`: weight of the locality term: codes near the pivot (`reach` of the way to a random one)
    keep the picture that the generator gave them before; 0 leaves it out, a third of the time less.
    """

    steps: int = 60
    rate: float = 5e-4
    local: float = 0.1
    reach: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0 or self.local < 0:
            raise InputError(
                f"tuning steps {self.steps}, rate {self.rate}, local {self.local}: expected steps "
                "of 1 or more, a rate above 0 and local of 0 or more"
            )


@dataclass(frozen=True)
class Tuned:
    """The tuned copy, frozen again; `losses` [steps]; `seconds`."""

    generator: Generator
    losses: Tensor
    seconds: float


def tune(
    generator: Generator,
    codes: Codes,
    target: Target,
    options: TuneOptions | None = None,
    features: LpipsLoss | None = None,
    progress: str | None = None,
    half: bool = False,
) -> Tuned:
    """A copy of the generator whose picture of the codes is closer to the target.

    The codes (the pivot) stay. Affine maps of w stay too, so S and W+ keep their meaning.
    Raises InputError where the size of the target cannot be painted.
    """
    options = options or TuneOptions()
    size = check_size(generator, target.size)
    if len(codes) != len(target.image):
        raise InputError(f"{len(codes)} codes for {len(target.image)} targets; give one each")
    tuned = copy.deepcopy(generator)
    fixed, free = ("mapping", "map_latents", "heads"), []
    for name, parameter in tuned.named_parameters():
        if not name.startswith(fixed) and ".affine." not in name:
            free.append(parameter.requires_grad_(True))
    optimiser = torch.optim.Adam(free, lr=options.rate)
    pivot = [s.detach() for s in styles_of(generator, codes)]
    began, losses, device = time.perf_counter(), [], pivot[0].device.type
    for step in tqdm(range(options.steps), desc=progress, unit="step", disable=progress is None):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            image = paint(tuned, pivot, size, codes.noise).float()
        loss = image_loss(image, [target], MatchWeights(), features).mean()
        if options.local > 0 and step % 3 == 2:
            seed = options.seed * 1_000_003 + step
            near = truncate(seeds_to_w_plus(generator, [seed]), codes.w_plus[:1], options.reach)
            moved = _moved_apart(generator, tuned, near, size)
            loss = loss + options.local * moved * 3  # it is asked every third step
        losses.append(loss.detach().cpu())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    tuned.requires_grad_(False)
    return Tuned(tuned, torch.stack(losses), time.perf_counter() - began)


def _moved_apart(generator: Generator, tuned: Generator, w_plus: Tensor, size: int) -> Tensor:
    """How much the picture of a code has changed (Roich et al., eq. 5): scalar."""
    with torch.no_grad():
        styles = generator.styles(w_plus)
        before = paint(generator, styles, size)
    return (paint(tuned, styles, size) - before).abs().mean()
