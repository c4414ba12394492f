"""Pivotal tuning (Roich et al. 2021): a copy of the generator bent until a code shows its photo."""

from __future__ import annotations

import copy
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from restore.errors import InputError
from restore.latents.codes import Codes, styles_of
from restore.latents.objective import Target, Weights, image_loss
from restore.latents.paint import check_size, paint
from restore.latents.spaces import Generator, truncate, z_of_seeds, z_to_w_plus
from restore.networks.perceptual import LpipsLoss


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
    free = [p for name, p in tuned.named_parameters() if _is_synthesis(name)]
    for parameter in free:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(free, lr=options.rate)
    pivot = [s.detach() for s in styles_of(generator, codes)]
    began, losses = time.perf_counter(), []
    device = pivot[0].device.type
    for step in tqdm(range(options.steps), desc=progress, unit="step", disable=progress is None):
        with torch.autocast(device, torch.bfloat16) if half else nullcontext():
            image = paint(tuned, pivot, size, codes.noise).float()
        loss = image_loss(image, [target], Weights(), features).mean()
        if options.local > 0 and step % 3 == 2:
            loss = loss + options.local * _moved_nearby(
                generator, tuned, codes, size, step, options
            )
        losses.append(loss.detach().cpu())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    tuned.requires_grad_(False)
    return Tuned(tuned, torch.stack(losses), time.perf_counter() - began)


def _moved_nearby(
    generator: Generator, tuned: Generator, codes: Codes, size: int, step: int, options: TuneOptions
) -> Tensor:
    """How much the picture of a code near the pivot has changed (Roich et al., eq. 5): scalar."""
    seed = options.seed * 1_000_003 + step
    with torch.no_grad():
        other = z_to_w_plus(generator, z_of_seeds(generator, [seed]))
        near = truncate(other, codes.w_plus[:1], options.reach)
        styles = generator.styles(near)
        before = paint(generator, styles, size)
    return (paint(tuned, styles, size) - before).abs().mean() * 3  # it is asked every third step


def _is_synthesis(name: str) -> bool:
    return not name.startswith(("mapping", "map_latents", "heads")) and ".affine." not in name
