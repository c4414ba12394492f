"""The prior's heads for small pictures, trained on crops of the features of painted faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import save_prior_heads
from restore.errors import CheckpointError, OptionError
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHead, PriorHeads, later_styles
from restore.training.distributed import Ranks
from restore.training.experiment import Progress
from restore.training.fit import Pace, Trained, averaged_copy, ema_update
from restore.training.precision import Stepper
from tools.training import cosine, group, train, warm_decay


@dataclass(frozen=True)
class SizeHeadOptions:
    """How the heads are trained."""

    images: int = 60  # faces that are painted once, and seen again and again
    steps: int = 400  # one face each
    learning_rate: float = 2e-3  # Adam, as a share of each tensor's own size; down to zero
    warmup_steps: int = 20
    ema_decay: float = 0.98
    crop_sizes: Mapping[int, int] | None = None  # size -> px of it that are kept of each face
    seed: int = 0
    truncation: tuple[float, float] = (0.6, 1.0)  # uniform per face

    def crop_of(self, size: int) -> int:
        """px of the crop: enough of the picture, little enough to keep."""
        return (self.crop_sizes or {128: 64, 256: 96}).get(size, size)


@dataclass(frozen=True)
class Crop:
    """Features [c,h,h] of a level and the shrunken picture [3,h,h] there, float16."""

    features: Tensor
    target: Tensor
    top: int
    left: int


@dataclass(frozen=True)
class PaintedFace:
    """One code [w_dim] and a crop for every size."""

    w: Tensor
    crops: Mapping[int, Crop]


def draw_w_plus(
    generator: MobileStyleGAN,
    count: int,
    draws: torch.Generator,
    truncation: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Random codes [count,k,w_dim], the same w for every style, truncated per sample."""
    w = generator.mapping(torch.randn(count, generator.w_dim, generator=draws))
    low, high = truncation
    psi = low + (high - low) * torch.rand(count, 1, generator=draws)
    w = generator.w_mean + psi * (w - generator.w_mean)
    return w[:, None].expand(-1, generator.num_styles, -1)


def shrunken(image: Tensor, size: int) -> Tensor:
    """Image [n,3,s,s] -> [n,3,size,size], the mean over whole pixel blocks."""
    return F.avg_pool2d(image, image.shape[-1] // size)


@torch.no_grad()
def paint_faces(
    generator: MobileStyleGAN, sizes: Sequence[int], options: SizeHeadOptions
) -> Iterator[PaintedFace]:
    """Faces with what the heads learn from, one at a time."""
    draws = torch.Generator().manual_seed(options.seed)
    for _ in range(options.images):
        w_plus = draw_w_plus(generator, 1, draws, options.truncation)
        styles = generator.styles(w_plus)
        x = generator.conv_4(generator.const, styles[0])
        crops, features = {}, {}
        for i, level in enumerate(generator.levels):
            x = generator.blocks[str(level)](x, styles[1 + 3 * i : 4 + 3 * i], None)
            if level in sizes:
                features[level] = x
        image = generator.to_rgb(x, styles[-1])
        for size, of_level in features.items():
            side = options.crop_of(size)
            top, left = torch.randint(size - side + 1, (2,), generator=draws).tolist()
            window = (0, slice(None), slice(top, top + side), slice(left, left + side))
            parts = (of_level[window].half(), shrunken(image, size)[window].half())
            crops[size] = Crop(parts[0].clone(), parts[1].clone(), top, left)
        yield PaintedFace(w_plus[0, 0].clone(), crops)


def crop_error(generator: MobileStyleGAN, head: PriorHead, w: Tensor, crop: Crop) -> Tensor:
    """Mean squared error [] of a head on a crop, without the border that the cut spoils."""
    with torch.no_grad():
        w_plus = w[None, None].expand(1, generator.num_styles, -1)
        styles = generator.styles(w_plus)[later_styles(generator, head.size) :]
    side = crop.features.shape[-1]
    made = head(crop.features[None].float(), styles, (crop.top, crop.left))[0]
    target = crop.target.float()
    if side < head.size:
        border = 2 * len(head.levels)
        inside = (..., slice(border, -border), slice(border, -border))
        made, target = made[inside], target[inside]
    return F.mse_loss(made, target)


class HeadsTask:
    """The heads in training; the generator is not touched. A step is one face."""

    def __init__(
        self,
        generator: MobileStyleGAN,
        heads: PriorHeads,
        faces: Sequence[PaintedFace],
        options: SizeHeadOptions,
    ) -> None:
        self.generator, self.heads, self.faces, self.options = generator, heads, faces, options
        heads.requires_grad_(True)
        self.stepper = Stepper(Ranks())
        rate = options.learning_rate
        groups = [group([p], rate * _own_size(p)) for p in heads.parameters()]
        self.trained = Trained(
            {"heads": heads},
            {"heads": averaged_copy(heads)},
            {"heads": torch.optim.Adam(groups, rate, betas=(0.9, 0.99))},
        )

    def step(self, progress: Progress) -> dict[str, Tensor]:
        """One step on the face whose turn it is, in an order that each round draws anew."""
        turn, place = divmod(progress.step, len(self.faces))
        order = np.random.default_rng([self.options.seed + 1, turn]).permutation(len(self.faces))
        face = self.faces[order[place]]

        def loss() -> tuple[Tensor, dict[str, Tensor]]:
            errors = {
                size: crop_error(self.generator, self.heads.heads[str(size)], face.w, crop)
                for size, crop in face.crops.items()
            }
            # The logarithm gives every size and every face the same say, whatever its error.
            total = torch.stack(list(errors.values())).log().sum()
            return total, {f"error_{size}": error for size, error in errors.items()}

        logged = self.stepper.step(self.trained.optimisers["heads"], [loss])
        decay = warm_decay(self.options.ema_decay, progress.step)
        ema_update(self.trained.averages["heads"], self.heads, decay)
        progress.images += 1
        return logged

    def state_dict(self) -> dict[str, Any]:
        """Nothing beside the heads."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take."""


def _own_size(weight: Tensor) -> float:
    """Root mean square of what is not zero, so that the optimiser's steps are in proportion."""
    used = weight.detach()[weight.detach() != 0]
    return max(float(used.square().mean().sqrt()) if len(used) else 0.0, 0.02)


@torch.no_grad()
def head_psnr(
    generator: MobileStyleGAN,
    paint: Callable[[Tensor, int], Tensor],
    sizes: Sequence[int],
    count: int = 16,
    seed: int = 1234,
) -> dict[int, float]:
    """Mean PSNR in dB of `paint(w_plus, size)` against the shrunken full-size image, peak 2."""
    draws = torch.Generator().manual_seed(seed)
    errors: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(count):
        w_plus = draw_w_plus(generator, 1, draws)
        image = generator.synthesis(w_plus)
        for size in sizes:
            error = F.mse_loss(paint(w_plus, size), shrunken(image, size)).clamp_min(1e-12)
            errors[size].append(float(10 * torch.log10(4 / error)))
    return {size: sum(values) / len(values) for size, values in errors.items()}


MEASURED = 8  # faces that the card's figures are the mean of


def make_prior_heads(
    model: str,
    path: str | Path,
    options: SizeHeadOptions,
    sizes: Sequence[int],
    folder: Path,
    max_minutes: float = 60,
) -> dict[int, float]:
    """Train heads of the generator of `model` and write them; returns size -> dB reached.

    Training ends after its steps, or after `max_minutes`, with what was learnt so far; states and
    logs go to `folder`, from whose newest state it goes on.
    """
    network = load_network(model)
    generator = getattr(network, "decoder", network)
    if not isinstance(generator, MobileStyleGAN):
        raise CheckpointError(f"{model} holds no MobileStyleGAN; only that prior has such heads")
    generator.requires_grad_(False)
    try:
        heads = PriorHeads(list(generator.channels.values()), sizes)
    except ValueError as error:
        raise OptionError(str(error)) from error
    heads.start_from(generator)
    faces = list(tqdm(paint_faces(generator, sizes, options), "faces", options.images))
    task = HeadsTask(generator, heads, faces, options)
    pace = Pace(options.steps, max_minutes, over_all_runs=True, print_every=20)
    schedule = cosine(options.steps, options.warmup_steps, 0.0, by_time=False)
    train("prior_heads", task, folder, pace, schedule, go_on=True)
    average: Any = task.trained.averages["heads"]
    reached = head_psnr(generator, partial(average, generator), sizes, MEASURED)
    save_prior_heads(path, average, generator, reached)
    return reached
