"""What programs and cameras do to a picture at hand: denoising, sharpening, mosaic, video blocks.

Each effect has a function that draws it for all samples of a batch and one that does it; `EFFECTS`
is their order within a pass, between its noise and its JPEG. A new one is a pair here, a row of
`EFFECTS`, and its keys in `Stage`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.blur import filter_lines
from restore.degradation.canvas import Canvas, replicate_beyond
from restore.degradation.draws import Draws, normal_fields
from restore.degradation.jpeg import block_dct, from_blocks, to_blocks
from restore.degradation.kernels import gaussian_lines
from restore.degradation.noise import luma, per_sample
from restore.degradation.resize import resize_each
from restore.options.degradation import Stage

Drawn = Mapping[str, np.ndarray]
"""Arrays `[n]` under their names; a strength of 0 leaves a sample as it is."""


def draw_strength(
    stage: object, draws: Draws, name: str, key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Float64 `[n]` from KEY_range, zero but with KEY_prob; and bool `[n]`, where it happens."""
    happens = draws.happens(f"{name}.{key}", getattr(stage, f"{key}_prob"))
    values = draws.uniform(f"{name}.{key}.strength", *getattr(stage, f"{key}_range"))
    return values * happens, happens


def _draw_blotches(stage: Stage, draws: Draws, name: str, pixel: np.ndarray) -> Drawn:
    sigma, _ = draw_strength(stage, draws, name, "blotch")
    radius = 1 + np.floor(draws.uniform(f"{name}.blotch.radius", 0, 3))
    keep = draws.uniform(f"{name}.blotch.keep", 1.6, 3.5)
    seeds = draws.field_seed(f"{name}.blotch.field")
    # what is left on flat skin: a share of the noise as it was, and the mean over two boxes
    side = 2 * radius + 1
    kept = 1 / (1 + keep**2)
    left = sigma * (kept + (1 - kept) * (2 * side**2 + 1) / (3 * side**3))
    return {"sigma": sigma, "radius": radius, "keep": keep, "seed": seeds, "true_noise": left}


def add_blotches(canvas: Canvas, drawn: Drawn) -> Canvas:
    """Sensor noise of `sigma` (0..255) that a camera took away again: blotches are left of it.

    The denoiser is a self-guided filter (He, Sun and Tang 2013) with a box of `radius` px and
    eps = min(keep * sigma, 0.3)^2 on luma, twice that radius on what differs from luma, as cameras
    do: edges stay, fine texture goes, and the noise comes back as patches of the box's size.
    """
    sigma, x = drawn["sigma"], canvas.pixels
    if not (sigma > 0).any():
        return canvas
    fields = normal_fields(drawn["seed"], canvas.sizes, 3, x.device).to(x.dtype)
    noisy = x + fields * per_sample(sigma / 255, x)
    y = luma(noisy)
    limit = np.minimum(drawn["keep"] * np.maximum(sigma, 1e-3) / 255, 0.3)
    eps = per_sample(limit**2, x)
    smooth = _guided(canvas.with_pixels(y), drawn["radius"], eps)
    colour = _guided(canvas.with_pixels(noisy - y), 2 * drawn["radius"], eps)
    out = (colour + smooth).clamp_(0, 1)
    return canvas.with_pixels(_where(sigma > 0, out, x))


def _guided(canvas: Canvas, radius: np.ndarray, eps: Tensor) -> Tensor:
    p = canvas.pixels
    offsets = np.abs(np.arange(-int(radius.max()), int(radius.max()) + 1))
    lines = torch.as_tensor((offsets <= radius[:, None]) / (2 * radius[:, None] + 1))
    mean = filter_lines(canvas, lines)
    variance = (filter_lines(canvas.with_pixels(p.square()), lines) - mean.square()).clamp_min_(0)
    slope = variance / (variance + eps)
    both = canvas.with_pixels(torch.cat([slope, mean * (1 - slope)], 1))
    slope, base = filter_lines(both, lines).chunk(2, 1)
    return slope * p + base


def _draw_sharpening(stage: Stage, draws: Draws, name: str, pixel: np.ndarray) -> Drawn:
    amount, _ = draw_strength(stage, draws, name, "sharpen")
    radius = draws.uniform(f"{name}.sharpen.radius", *stage.sharpen_radius) * pixel
    return {"amount": amount, "radius": np.maximum(radius, 0.3)}


def sharpen(canvas: Canvas, drawn: Drawn) -> Canvas:
    """Unsharp mask: x + amount (x - Gaussian of `radius` px), clamped, so with its halos."""
    amount, x = drawn["amount"], canvas.pixels
    if not (amount > 0).any():
        return canvas
    size = 2 * int(np.ceil(3 * drawn["radius"].max())) + 1
    soft = filter_lines(canvas, gaussian_lines(size, torch.as_tensor(drawn["radius"])))
    return canvas.with_pixels((x + (x - soft) * per_sample(amount, x)).clamp_(0, 1))


def _draw_mosaic(stage: Stage, draws: Draws, name: str, pixel: np.ndarray) -> Drawn:
    cell, happens = draw_strength(stage, draws, name, "mosaic")
    cell = np.maximum(np.round(cell), 1) * happens
    return {"cell": cell, "true_scale": np.maximum(cell, 1)}


def pixelate(canvas: Canvas, drawn: Drawn) -> Canvas:
    """A mosaic: cells of about `cell` px (whole numbers, 0 none) take their mean colour."""
    if not (drawn["cell"] > 1).any():
        return canvas
    sizes = canvas.sizes
    cells = np.maximum(drawn["cell"], 1)
    few = [
        (max(1, round(h / cell)), max(1, round(w / cell)))
        for (h, w), cell in zip(sizes, cells, strict=True)
    ]
    small = resize_each(canvas, few, ["area"] * len(sizes))
    return resize_each(small, sizes, ["nearest"] * len(sizes))


def _draw_palette(stage: Stage, draws: Draws, name: str, pixel: np.ndarray) -> Drawn:
    levels, _ = draw_strength(stage, draws, name, "palette")
    return {"levels": np.floor(levels), "dither": draws.happens(f"{name}.palette.dither", 0.5)}


def _bayer(steps: int) -> np.ndarray:
    """Bayer's index matrix of side 2^steps, values 0 .. 4^steps - 1."""
    matrix = np.zeros((1, 1))
    for _ in range(steps):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return matrix


def reduce_colors(canvas: Canvas, drawn: Drawn) -> Canvas:
    """Each channel on so many `levels` (0: all), rounded, or dithered by Bayer's 8 x 8 matrix."""
    levels, x = drawn["levels"], canvas.pixels
    if not (levels > 1).any():
        return canvas
    h, w = x.shape[-2:]
    pattern = np.tile((_bayer(3) + 0.5) / 64, (h // 8 + 1, w // 8 + 1))[:h, :w]
    threshold = torch.as_tensor(pattern).to(x.dtype).to(x.device)
    threshold = torch.where(_flags(drawn["dither"], x), threshold, torch.full_like(threshold, 0.5))
    top = per_sample(np.maximum(levels, 2) - 1, x)
    return canvas.with_pixels(_where(levels > 1, (x * top + threshold).floor() / top, x))


def _draw_video(stage: Stage, draws: Draws, name: str, pixel: np.ndarray) -> Drawn:
    step, happens = draw_strength(stage, draws, name, "video")
    safe = np.where(happens, step, 25.0)
    # the JPEG whose tables have such steps where a face has its energy
    quality = np.where(safe < 25, 100 - 2 * safe, 50 * 25 / safe)
    return {
        "step": step,
        "wide": draws.happens(f"{name}.video.wide", 0.5),
        "deblock": draws.uniform(f"{name}.video.deblock"),
        "true_quality": np.where(happens, np.clip(np.floor(quality), 1, 100), 100.0),
    }


def video_blocks(canvas: Canvas, drawn: Drawn) -> Canvas:
    """A frame of a starved video: blocks of 8 px (16 where `wide`) with an even coarse quantiser.

    `step` is the width of a quantiser step in 0..255 with the dead zone of intra frames (a third,
    H.264's reference encoder); colour has half the resolution. Then the seams between blocks are
    smoothed by `deblock` in 0..1, by a quarter of a step at most, so that real edges stay.
    """
    step, x = drawn["step"], canvas.pixels
    if not (step > 0).any():
        return canvas
    height, width = x.shape[-2:]
    size = -(-height // 16) * 16, -(-width // 16) * 16
    padded = replicate_beyond(canvas, *size)
    y = luma(padded)
    colour = F.avg_pool2d(padded - y, 2)
    strength = per_sample(np.maximum(step, 1e-3) / 255, x)
    smooth = per_sample(drawn["deblock"], x)
    planes = []
    for side in (8, 16):
        if (drawn["wide"] == (side == 16)).any():
            planes.append(_deblock(_block_code(y, strength, side), strength, smooth, side))
    y = planes[0] if len(planes) == 1 else torch.where(_flags(drawn["wide"], x), *planes[::-1])
    colour = _block_code(colour, strength, 8)
    colour = F.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    out = (y + colour)[..., :height, :width].clamp(0, 1)
    return canvas.with_pixels(_where(step > 0, out, x))


def _block_code(x: Tensor, step: Tensor, side: int) -> Tensor:
    matrix = block_dct(side).to(x.dtype).to(x.device)
    coefficients = to_blocks(x, side) @ matrix
    # the mean of a block is predicted from its neighbours: only a fine step is lost of it
    steps = step[:, 0].expand(-1, 1, side * side).clone()
    steps[..., 0] *= side / 8
    levels = (coefficients.abs() / steps + 1 / 3).floor_().copysign_(coefficients)
    return from_blocks((levels * steps) @ matrix.T, tuple(x.shape), side)  # type: ignore[arg-type]


def _deblock(x: Tensor, step: Tensor, strength: Tensor, side: int) -> Tensor:
    for dim in (2, 3):
        length = x.shape[dim]
        at = torch.arange(length, device=x.device)
        before, after = (at - 1).clamp_min(0), (at + 1).clamp_max(length - 1)
        mean = (x.index_select(dim, before) + x.index_select(dim, after)) * 0.5
        from_seam = torch.minimum(at % side, side - 1 - at % side)
        weight = (1 - 0.5 * from_seam).clamp_min(0).to(x.dtype)
        weight = weight.view(-1, 1) if dim == 2 else weight
        change = ((mean - x) * 0.5).minimum(step / 4).maximum(-step / 4)
        x = x + change * weight * strength
    return x


@dataclass(frozen=True)
class Effect:
    """draw(stage, draws, name of the pass, pixels at hand for one of the recipe's `[n]`); apply.

    key: without KEY_prob in a pass nothing is drawn. What is drawn may say what it adds to the
    truth: `true_noise` (a sigma), `true_scale` (a factor), `true_quality`.
    """

    key: str
    draw: Callable[[Stage, Draws, str, np.ndarray], Drawn]
    apply: Callable[[Canvas, Drawn], Canvas]


EFFECTS = (
    Effect("blotch", _draw_blotches, add_blotches),
    Effect("sharpen", _draw_sharpening, sharpen),
    Effect("mosaic", _draw_mosaic, pixelate),
    Effect("palette", _draw_palette, reduce_colors),
    Effect("video", _draw_video, video_blocks),
)


def draw_effects(stage: Stage, draws: Draws, name: str, pixel: np.ndarray) -> tuple[Drawn, ...]:
    """What `EFFECTS` do in a pass, in their order; empty for those that a recipe has not."""
    return tuple(
        effect.draw(stage, draws, name, pixel) if getattr(stage, f"{effect.key}_prob") > 0 else {}
        for effect in EFFECTS
    )


def apply_effects(canvas: Canvas, drawn: tuple[Drawn, ...]) -> Canvas:
    """The canvas after the effects that were drawn."""
    for effect, one in zip(EFFECTS, drawn, strict=True):
        if one:
            canvas = effect.apply(canvas, one)
    return canvas


def _flags(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(values, device=like.device)[:, None, None, None]


def _where(chosen: np.ndarray, out: Tensor, x: Tensor) -> Tensor:
    return out if chosen.all() else torch.where(_flags(chosen, x), out, x)
