"""degrade: a batch of good faces in, a batch of bad ones and the truth about them out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from restore.degradation.blur import blur, sinc_kernels
from restore.degradation.draws import Draws, draws_from
from restore.degradation.overlay import lay_over, occlude
from restore.degradation.passes import (
    StageDraw,
    add_noise,
    apply_effects,
    blur_and_resize,
    blur_drawn,
    compress,
    draw_stage,
    resize_drawn,
)
from restore.degradation.prints import PrintDraw, age_print, draw_print, recolor, tint, to_gray
from restore.degradation.recipe import Mixture, Recipe, find_recipe
from restore.degradation.resize import Canvas, full_canvas, resize_each
from restore.degradation.truth import DegradationTruth
from restore.errors import InputError

Item = TypeVar("Item")


class _Inside(threading.local):
    here = False


_inside = _Inside()
_lock = threading.Lock()
_callers, _threads_outside = 0, 1


@contextmanager
def one_thread(device: torch.device) -> Iterator[int]:
    """torch's operations take one thread within, on a CPU; gives how many they may take outside.

    Spreading single operations of small pictures takes longer than they do, and a hundred times
    longer when another process holds one of the cores, for which all others then wait.

    Calls of several threads may overlap: a thread that is new to torch takes over the number that
    another set last, which may be the 1 of such a call, so all that overlap go by what the first
    found, and each puts it back for itself. Within itself it does nothing and gives 1.
    """
    global _callers, _threads_outside
    if device.type != "cpu" or _inside.here:
        yield 1 if _inside.here else torch.get_num_threads()
        return
    with _lock:
        found = _take_one_thread()
        if _callers == 0:
            _threads_outside = found
        _callers += 1
        threads = _threads_outside
    _inside.here = True
    try:
        yield threads
    finally:
        _inside.here = False
        with _lock:
            _callers -= 1
            torch.set_num_threads(threads)


def each_on_one_thread(work: Callable[[Item], None], items: Sequence[Item], threads: int) -> None:
    """Calls work (without gradients) for every item, on so many threads; within `one_thread`."""

    def alone(item: Item) -> None:
        # whether gradients are kept is a thread's own setting
        with torch.no_grad():
            work(item)

    if threads == 1 or len(items) < 2:
        for item in items:
            alone(item)
        return
    # so is the number of threads that operations take
    with ThreadPoolExecutor(min(threads, len(items)), initializer=_take_one_thread) as pool:
        for _ in pool.map(alone, items):
            pass


def _take_one_thread() -> int:
    # asking comes first: a thread that was never asked takes over a later setting of another
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    return found


DEVICE_CHUNK = 16
"""Samples that go through a pass together on an accelerator, sorted by size: few launches, little
padding. On a CPU each goes by itself: no padding, planes that fit the caches, and values that
cannot depend on the neighbours."""


@dataclass(frozen=True)
class Degraded:
    """lq and gt float32 `[n,3,h,w]` RGB in [-1,1], on the 8-bit grid (lq); what was done: truth."""

    lq: Tensor
    gt: Tensor
    truth: DegradationTruth


@torch.no_grad()
def degrade(
    gt: Tensor,
    recipe: str | Recipe | Mixture = "gfpgan",
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    seeds: Tensor | Sequence[int] | None = None,
) -> Degraded:
    """Degrade gt `[n,3,h,w]` float RGB in [-1,1], each sample by its own draw of the recipe.

    Randomness: one generator (one number a sample is taken from it), one generator for each sample,
    or int64 seeds `[n]`. A sample's result is a function of its pixels, its seed and the recipe
    alone, however the batch is split; on another kind of device only its noise fields differ. On a
    CPU samples are spread over as many threads as torch is set to use.
    Raises InputError for a bad tensor, an unknown recipe, or no randomness.
    """
    _check_form(gt)
    with one_thread(gt.device) as threads:
        return _degrade_on(threads, gt, find_recipe(recipe), generator, seeds)


def _degrade_on(
    threads: int,
    gt: Tensor,
    mixture: Mixture,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    seeds: Tensor | Sequence[int] | None,
) -> Degraded:
    _check_range(gt)
    n = gt.shape[0]
    draws = draws_from(n, generator, seeds)
    gt = gt.float()
    lq, target = torch.empty_like(gt), gt.clone()
    truth = np.zeros((6, n))
    which = draws.choice("mixture", mixture.probs)
    for k, one in enumerate(mixture.recipes):
        index = np.flatnonzero(which == k)
        if len(index):
            own = draws.take(index)
            truth[:, index] = _degrade_by(one, gt, lq, target, index, own, threads)
    values = torch.as_tensor(truth, dtype=torch.float32).to(gt.device)
    return Degraded(lq, target, DegradationTruth(*values))


def _check_form(gt: Tensor) -> None:
    if not isinstance(gt, Tensor) or gt.ndim != 4 or gt.shape[1] != 3 or 0 in gt.shape:
        found = tuple(gt.shape) if isinstance(gt, Tensor) else type(gt).__name__
        raise InputError(f"gt: found {found}, expected a tensor [n,3,h,w], RGB in [-1,1]")
    if not gt.is_floating_point():
        raise InputError(
            f"gt: found {gt.dtype}, expected float in [-1,1]; divide uint8 by 127.5 and take 1 off"
        )


def _check_range(gt: Tensor) -> None:
    low, high = (float(v) for v in torch.aminmax(gt))
    # a restored image overshoots a little; NaN fails both comparisons
    if not (low >= -1.01 and high <= 1.01):
        raise InputError(f"gt: found values in {low:g}..{high:g}, expected -1..1")


def _degrade_by(
    recipe: Recipe,
    gt: Tensor,
    lq: Tensor,
    target: Tensor,
    where: np.ndarray,
    draws: Draws,
    threads: int,
) -> np.ndarray:
    """Writes lq and, where it changes, target, at the samples `where`; their truth `[6,n]`."""
    h, w = gt.shape[-2:]
    printed = draw_print(recipe, draws, h)
    stages = draw_stages(recipe, draws, (h, w))
    gray = np.zeros(len(where), dtype=bool)

    def work(index: np.ndarray) -> None:
        at = _index(where[index], gt.device)
        one, own = draws.take(index), printed.take(index)
        good = gt[at].clamp(-1, 1).add_(1).mul_(0.5)
        x = occlude(recipe, good, one)
        changed = x is not good
        out = _chain(recipe, x, [s.take(index) for s in stages], own, one)
        out, gray[index] = recolor(recipe, out, one)
        out = tint(recipe, out, (gray[index] | (own.gray > 0)), one)
        toned = own.tone_target(x)
        changed, good = changed or toned is not None, x if toned is None else toned
        if recipe.gt_gray and gray[index].any():
            changed, good = True, to_gray(good, gray[index].astype(np.float64))
        laid = lay_over(recipe, out, good, one)
        if laid is not None:
            changed, (out, good) = True, laid
        lq[at] = to_8_bit(out)
        if changed:
            target[at] = good * 2 - 1

    chunks = _chunks(stages, gt.device)
    if gt.device.type == "cpu":
        each_on_one_thread(work, chunks, threads)
    else:
        for index in chunks:
            work(index)
    return _truth(stages, printed, gray)


def _index(where: np.ndarray, device: torch.device) -> Tensor | slice:
    # a slice is a view: a sample of its own is neither gathered nor scattered
    if len(where) == 1:
        return slice(int(where[0]), int(where[0]) + 1)
    return torch.as_tensor(where, device=device)


def draw_stages(recipe: Recipe, draws: Draws, size: tuple[int, int]) -> list[StageDraw]:
    """The draws of the passes of a recipe for pictures of one size."""
    n = len(draws)
    at_hand = (np.full(n, size[0]), np.full(n, size[1]))
    stages = [draw_stage(recipe, draws, "first", size, at_hand, recipe.reference_size)]
    if recipe.second is not None:
        at_hand = (stages[0].height, stages[0].width)
        stages.append(
            draw_stage(recipe.second, draws, "second", size, at_hand, recipe.reference_size)
        )
    return stages


def _chunks(stages: list[StageDraw], device: torch.device) -> list[np.ndarray]:
    first = stages[0]
    if device.type == "cpu":
        return [np.array([i]) for i in range(len(first.height))]
    chunks = []
    for separable in (True, False):
        index = np.flatnonzero(first.separable == separable)
        index = index[np.argsort(first.height[index], kind="stable")]
        chunks += [index[i : i + DEVICE_CHUNK] for i in range(0, len(index), DEVICE_CHUNK)]
    return chunks


def _chain(
    recipe: Recipe, x: Tensor, stages: list[StageDraw], printed: PrintDraw, draws: Draws
) -> Tensor:
    size = tuple(x.shape[-2:])
    canvas = full_canvas(x)
    for i, stage in enumerate(stages):
        if i == 0 and printed.any():
            canvas = blur_drawn(canvas, stage)
            canvas = canvas.with_pixels(age_print(canvas.pixels, printed, draws))
            canvas = resize_drawn(canvas, stage)
        else:
            canvas = blur_and_resize(canvas, stage)
        canvas = add_noise(canvas, stage)
        canvas = apply_effects(canvas, stage.effects)
        last = i == len(stages) - 1
        if last and recipe.final_sinc_prob > 0:
            canvas = _final_sinc(recipe, canvas, draws, before=True)
        canvas = compress(canvas, stage)
        if last and recipe.final_sinc_prob > 0:
            canvas = _final_sinc(recipe, canvas, draws, before=False)
    modes = recipe.upsample_modes
    chosen = [modes[k] for k in draws.choice("upsample", (1.0,) * len(modes))]
    n = x.shape[0]
    return resize_each(canvas, (size,) * n, chosen).pixels  # type: ignore[arg-type]


def _final_sinc(recipe: Recipe, canvas: Canvas, draws: Draws, before: bool) -> Canvas:
    """Real-ESRGAN's last sinc, before or after the last JPEG with equal chance."""
    chosen = draws.happens("final_sinc", recipe.final_sinc_prob)
    chosen = chosen & (draws.happens("final_sinc.before", 0.5) == before)
    if not chosen.any():
        return canvas
    sizes = 7 + 2 * np.floor(draws.uniform("final_sinc.size", 0, 8)).astype(np.int64)
    cutoff = draws.uniform("final_sinc.cutoff", np.pi / 3, np.pi)
    kernels = sinc_kernels(21, torch.as_tensor(cutoff), torch.as_tensor(sizes))
    delta = torch.zeros_like(kernels)
    delta[:, 10, 10] = 1
    kernels = torch.where(torch.as_tensor(chosen)[:, None, None], kernels, delta)
    canvas = blur(canvas, kernels.to(canvas.pixels.device, torch.float32))
    return canvas.with_pixels(canvas.pixels.clamp(0, 1))


def to_8_bit(x: Tensor) -> Tensor:
    """Pixels in [0,1], clamped to that, on the 8-bit grid of [-1,1]."""
    return x.clamp(0, 1).mul_(255).round_().mul_(2 / 255).sub_(1)


def _truth(stages: list[StageDraw], printed: PrintDraw, gray: np.ndarray) -> np.ndarray:
    one = np.ones(len(gray))
    sigma = np.sqrt(sum(s.true_sigma**2 for s in stages))
    # the coarsest grid that the picture went through
    effects = [effect for s in stages for effect in s.effects]
    scales = [
        s.true_scale * np.prod([e.get("true_scale", one) for e in s.effects], axis=0)
        for s in stages
    ]
    scale = np.max(scales, axis=0)
    noise = np.sqrt(sum(s.true_noise**2 for s in stages) + printed.grain**2)
    for effect in effects:
        noise = np.hypot(noise, effect.get("true_noise", 0.0))
    quality = np.min([np.where(s.quality > 0, s.quality, 100.0) for s in stages], axis=0)
    for effect in effects:
        quality = np.minimum(quality, effect.get("true_quality", 100.0))
    colorless = np.maximum(gray, np.maximum(printed.gray, printed.sepia > 0.5))
    return np.stack([sigma, scale, noise, quality, colorless, printed.damage])
