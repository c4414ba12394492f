"""Inversion: the code in W, W+ or S whose picture matches a target; optimisation by gradients."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from tqdm import tqdm

from restore.errors import InputError
from restore.latents.codes import Codes
from restore.latents.objective import Target, Weights, image_loss, noise_correlation
from restore.latents.paint import check_size, noise_maps, paint
from restore.latents.spaces import Generator, WStatistics
from restore.latents.variables import CodeVariables, code_variables
from restore.networks.perceptual import LpipsLoss


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
    weights: Weights = field(default_factory=Weights)

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
    `check_size` takes, each face by itself. `features`: LPIPS on
    a network of the user's file; without it pixels alone are matched. `progress`: a bar's label.
    """
    options = options or InvertOptions()
    if not targets:
        raise InputError("an inversion needs one target or more, got none")
    size = check_size(generator, targets[0].size if size is None else size)
    variables = code_variables(generator, statistics, space, start, options.along_axes)
    free = _free_noise(generator, len(start)) if options.noise else None
    optimiser = torch.optim.Adam(
        [
            {"params": list(variables.moved), "lr": options.rate},
            {"params": list(free.maps.values()) if free else [], "lr": options.noise_rate},
        ],
        betas=(0.9, 0.99),
    )
    began, losses = time.perf_counter(), []
    for step in tqdm(range(options.steps), desc=progress, unit="step", disable=progress is None):
        pace = _pace(step / options.steps)
        moving = free if free is not None and 2 * step >= options.steps else None
        optimiser.param_groups[0]["lr"] = options.rate * pace
        optimiser.param_groups[1]["lr"] = options.noise_rate * pace
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
    with torch.autocast(styles[0].device.type, torch.bfloat16) if half else nullcontext():
        return paint(generator, styles, size, maps).float()


def _code_loss(variables: CodeVariables, noise: _FreeNoise | None, weights: Weights) -> Tensor:
    """What the codes and noise maps cost by themselves [n]."""
    loss = variables.moved[0].new_zeros(len(variables.moved[0]))
    if weights.plausible > 0:
        loss = loss + weights.plausible * variables.implausible()
    if weights.together > 0:
        loss = loss + weights.together * variables.apart()
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
        parts = [
            (noise_correlation(value) - self.correlations[name]).clamp_min(0)
            for name, value in self.maps.items()
        ]
        return torch.stack(parts).mean(0)


def _free_noise(generator: Generator, count: int) -> _FreeNoise:
    stored = noise_maps(generator)
    if not stored:
        raise InputError("this generator has no noise maps; leave noise out")
    return _FreeNoise(
        {k: v.detach().repeat(count, 1, 1, 1).requires_grad_() for k, v in stored.items()},
        {k: v.std() for k, v in stored.items()},
        {k: noise_correlation(v) for k, v in stored.items()},
    )


def _pace(done: float) -> float:
    """Factor of the learning rate at a share of the way."""
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / 0.25))
    return min(1.0, down) * min(1.0, (done + 1e-3) / 0.05)
