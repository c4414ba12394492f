"""One pass: what is drawn for each sample, and the blur, resize, noise, effects and JPEG of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.blur import (
    blur,
    blur_band,
    defocus_kernels,
    filter_lines,
    gaussian_kernels,
    gaussian_lines,
    motion_kernels,
    sinc_kernels,
)
from restore.degradation.draws import Draws, normal_fields
from restore.degradation.jpeg import block_dct, from_blocks, jpeg, to_blocks
from restore.degradation.noise import add_gaussian_noise, add_poisson_noise, luma, per_sample
from restore.degradation.resize import (
    Band,
    Canvas,
    apply_sides,
    replicate_beyond,
    resize_band,
    resize_each,
)
from restore.options.degradation import Range, Stage

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
    coded = torch.empty_like(y)
    for side, chosen in ((8, ~drawn["wide"]), (16, drawn["wide"])):
        if chosen.any():
            blocks = _deblock(_block_code(y, strength, side), strength, smooth, side)
            coded = _where(chosen, blocks, coded)
    y = coded
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


DEFOCUS_RADIUS_PER_SIGMA = 2.0
"""A disc of radius r has the variance r^2 / 4 along one axis."""

MOTION_LENGTH_PER_SIGMA = 12.0**0.5
"""A line of length l has the variance l^2 / 12 along itself."""


@dataclass(frozen=True)
class StageDraw:
    """What one pass does to n samples; arrays `[n]`. Blur in px at hand, noise in 0..255.

    kernel: a name of `KERNEL_NAMES`, or "none". height, width: the size that the pass resizes to.
    noise_sigma 0 is none; poisson_scale 0 is none; quality 0 is no JPEG. The true_* values are in
    the recipe's own units.
    """

    kernel: np.ndarray
    kernel_size: np.ndarray
    sigma_x: np.ndarray
    sigma_y: np.ndarray
    theta: np.ndarray
    beta: np.ndarray
    cutoff: np.ndarray
    height: np.ndarray
    width: np.ndarray
    mode: np.ndarray
    noise_sigma: np.ndarray
    poisson_scale: np.ndarray
    gray_noise: np.ndarray
    chroma_noise: np.ndarray
    noise_seed: np.ndarray
    quality: np.ndarray
    chroma: np.ndarray
    step_scale: np.ndarray
    true_sigma: np.ndarray
    true_scale: np.ndarray
    true_noise: np.ndarray
    effects: tuple[Drawn, ...]

    def take(self, index: np.ndarray) -> StageDraw:
        """The draws of some of the samples."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        effects = tuple({k: v[index] for k, v in e.items()} for e in arrays.pop("effects"))
        return StageDraw(**{k: v[index] for k, v in arrays.items()}, effects=effects)

    @property
    def separable(self) -> np.ndarray:
        """Bool `[n]`: the blur is none, or an isotropic Gaussian, the product of two lines."""
        found: np.ndarray = (self.kernel == "none") | (self.kernel == "iso")
        return found


def draw_stage(
    stage: Stage,
    draws: Draws,
    name: str,
    first_size: tuple[int, int],
    size_at_hand: tuple[np.ndarray, np.ndarray],
    reference_size: int | None,
) -> StageDraw:
    """Draw one pass. first_size: of the picture; size_at_hand `[n]`, `[n]`: before this pass.

    With a reference size r, the picture of height h counts as an r px crop: blur is scaled
    by h / r, and the pass resizes to r // factor. Where that would be more pixels than
    the picture has, it stays as it is, and noise and JPEG steps get smaller instead, by as much
    as the average over the finer pixels would make them.
    """
    n = len(draws)
    ratio = 1.0 if reference_size is None else first_size[0] / reference_size
    blur = _draw_blur(stage, draws, name, _grid_ratio(first_size, size_at_hand, ratio))
    height, width, finer, scale = _draw_size(stage, draws, name, first_size, size_at_hand, ratio)
    noisy = draws.happens(f"{name}.noise", stage.noise_prob)
    gaussian = draws.happens(f"{name}.gaussian", stage.gaussian_noise_prob)
    sigma = draws.uniform(f"{name}.noise_sigma", *stage.noise_range) * (noisy & gaussian)
    poisson = draws.uniform(f"{name}.poisson", *stage.poisson_scale_range) * (noisy & ~gaussian)
    low, high = stage.jpeg_range
    # whole numbers, as a JPEG library takes them; int() of basicsr's uniform draw
    quality = np.floor(draws.uniform(f"{name}.quality", low, high + (high < 100)))
    quality = np.clip(quality, low, high) * draws.happens(f"{name}.jpeg", stage.jpeg_prob)
    chroma = np.atleast_1d(np.asarray(stage.jpeg_chroma))
    pixel = _grid_ratio(first_size, (height, width), ratio)
    effects = draw_effects(stage, draws, name, pixel)
    modes = np.asarray(stage.downsample_modes)
    which = draws.choice(f"{name}.mode", (1.0,) * len(modes))
    return StageDraw(
        **blur,
        height=height,
        width=width,
        mode=modes[which],
        noise_sigma=sigma * finer,
        poisson_scale=poisson * finer,
        gray_noise=draws.happens(f"{name}.gray_noise", stage.gray_noise_prob),
        chroma_noise=draws.happens(f"{name}.chroma_noise", stage.chroma_noise_prob),
        noise_seed=draws.field_seed(f"{name}.noise_field"),
        quality=quality,
        chroma=chroma[draws.choice(f"{name}.chroma", (1.0,) * len(chroma))],
        step_scale=finer,
        true_scale=np.broadcast_to(scale, (n,)).copy(),
        # Poisson noise counts by its sigma at mid gray, were all 256 values there
        true_noise=sigma + poisson * 255 * (0.5 / 256) ** 0.5,
        effects=effects,
    )


def _grid_ratio(
    first_size: tuple[int, int], size_at_hand: tuple[np.ndarray, np.ndarray], ratio: float
) -> np.ndarray:
    """Pixels at hand for one of the same pass over a crop of the reference size, `[n]`.

    The first pass sees the picture's own grid: `ratio`. A later one sees what the first resized to:
    the same number of pixels either way, but where the picture had fewer than that to begin with.
    """
    at_hand = np.asarray(size_at_hand[0], dtype=np.float64)
    return np.where(at_hand < first_size[0], 1.0, ratio)


def _draw_blur(stage: Stage, draws: Draws, name: str, ratio: np.ndarray) -> dict[str, np.ndarray]:
    sigma = draws.uniform(f"{name}.sigma", *stage.blur_sigma)
    sigma_y = draws.uniform(f"{name}.sigma_y", *stage.blur_sigma)
    kinds = np.asarray(stage.kernel_list, dtype="<U20")
    kernel = kinds[draws.choice(f"{name}.kernel", stage.kernel_prob)]
    kernel = np.where(draws.happens(f"{name}.sinc", stage.sinc_prob), "sinc", kernel)
    kernel = np.where(draws.happens(f"{name}.blur", stage.blur_prob), kernel, "none")
    two_sided = np.isin(kernel, ("aniso", "generalized_aniso", "plateau_aniso"))
    sigma_y = np.where(two_sided, sigma_y, sigma)
    plateau = np.char.startswith(kernel, "plateau")
    beta = np.where(
        plateau,
        _draw_beta(draws, f"{name}.betap", stage.betap_range),
        _draw_beta(draws, f"{name}.betag", stage.betag_range),
    )
    size = _draw_kernel_size(stage.blur_kernel_size, draws, name)
    # Real-ESRGAN: the cutoff is at least pi/3 for kernels under 13 px, else pi/5
    lowest = np.where(size < 13, np.pi / 3, np.pi / 5)
    cutoff = lowest + (np.pi - lowest) * draws.uniform(f"{name}.cutoff")
    # in the frequency domain a smaller picture has a higher cutoff, up to the whole band
    cutoff = np.minimum(cutoff / ratio, np.pi)
    true_sigma = np.where(kernel == "none", 0.0, np.sqrt(sigma * sigma_y))
    # a sinc of cutoff w passes what a Gaussian of about 1 / w passes
    true_sigma = np.where(kernel == "sinc", 1.0 / (cutoff * ratio), true_sigma)
    scaled = 2 * np.round((size * ratio - 1) / 2) + 1
    return {
        "kernel": kernel,
        "kernel_size": np.maximum(scaled, 3).astype(np.int64),
        "sigma_x": sigma * ratio,
        "sigma_y": sigma_y * ratio,
        "theta": draws.uniform(f"{name}.theta", -np.pi, np.pi),
        "beta": beta,
        "cutoff": cutoff,
        "true_sigma": true_sigma,
    }


def _draw_kernel_size(size: int | tuple[int, int], draws: Draws, name: str) -> np.ndarray:
    low, high = size if isinstance(size, tuple) else (size, size)
    steps = (high - low) // 2 + 1
    found: np.ndarray = low + 2 * np.floor(draws.uniform(f"{name}.kernel_size", 0, steps)).astype(
        np.int64
    )
    return found


def _draw_beta(draws: Draws, name: str, limits: Range) -> np.ndarray:
    low, high = limits
    below = draws.uniform(name, min(low, 1.0), min(1.0, high))
    above = draws.uniform(name, max(low, 1.0), max(1.0, high))
    return np.where(draws.happens(f"{name}.side", 0.5), below, above)


def _draw_size(
    stage: Stage,
    draws: Draws,
    name: str,
    first_size: tuple[int, int],
    size_at_hand: tuple[np.ndarray, np.ndarray],
    ratio: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Height and width to resize to, the share of finer pixels (1 or less), and the scale."""
    if stage.resize_prob is None:
        factor = draws.uniform(f"{name}.scale", *stage.downsample_range)
        kept = ~draws.happens(f"{name}.down", stage.downsample_prob)
        base = tuple(np.asarray(size / ratio) for size in first_size)
        whole = tuple(np.maximum(np.floor_divide(b, factor), 1) for b in base)
        scale = np.where(kept, 1.0, factor)
    else:
        factor, kept = _draw_resize_factor(stage, draws, name)
        share = stage.resize_base
        from_sizes = first_size if share is not None else size_at_hand
        base = tuple(np.asarray(s, dtype=np.float64) * (share or 1.0) for s in from_sizes)
        whole = tuple(np.maximum(np.floor(b * factor), 1) for b in base)
        scale = first_size[0] / whole[0]
        kept = kept & (share is None)
    finer = np.minimum(first_size[0] / whole[0], 1.0) if ratio < 1 else np.ones(len(draws))
    finer = np.where(kept, 1.0, finer)
    height, width = (
        np.where(kept, at_hand, np.where(finer < 1, first, w)).astype(np.int64)
        for at_hand, first, w in zip(size_at_hand, first_size, whole, strict=True)
    )
    return height, width, finer, scale


def _draw_resize_factor(stage: Stage, draws: Draws, name: str) -> tuple[np.ndarray, np.ndarray]:
    direction = draws.choice(f"{name}.resize", stage.resize_prob or (0, 0, 1))
    low, high = stage.resize_range
    up = draws.uniform(f"{name}.factor", 1.0, max(high, 1.0))
    down = draws.uniform(f"{name}.factor", min(low, 1.0), 1.0)
    factor = np.where(direction == 0, up, np.where(direction == 1, down, 1.0))
    return factor, direction == 2


def blur_and_resize(canvas: Canvas, draw: StageDraw) -> Canvas:
    """Blur, then resize. Isotropic samples take one matrix a side, which does both."""
    if not draw.separable.all() or (draw.kernel == "none").all():
        return resize_drawn(blur_drawn(canvas, draw), draw)
    sizes = _sizes(draw)
    rows, columns = [], []
    for i, (source, target) in enumerate(zip(canvas.sizes, sizes, strict=True)):
        rows.append(_side_band(draw, i, source[0], target[0]))
        square = (source[0], target[0]) == (source[1], target[1])
        columns.append(rows[-1] if square else _side_band(draw, i, source[1], target[1]))
    return Canvas(apply_sides(canvas, rows, columns), sizes)


def blur_drawn(canvas: Canvas, draw: StageDraw) -> Canvas:
    """The blur of a pass alone."""
    if (draw.kernel == "none").all():
        return canvas
    return blur(canvas, drawn_kernels(draw).to(canvas.pixels.device, torch.float32))


def resize_drawn(canvas: Canvas, draw: StageDraw) -> Canvas:
    """The resize of a pass alone."""
    return resize_each(canvas, _sizes(draw), [str(m) for m in draw.mode])


def add_noise(canvas: Canvas, draw: StageDraw) -> Canvas:
    """The noise of a pass; clamped to [0,1] as in GFPGAN and Real-ESRGAN."""
    if (draw.noise_sigma > 0).any():
        canvas = add_gaussian_noise(
            canvas, draw.noise_sigma, draw.gray_noise, draw.noise_seed, draw.chroma_noise
        )
    if (draw.poisson_scale > 0).any():
        canvas = add_poisson_noise(canvas, draw.poisson_scale, draw.gray_noise, draw.noise_seed)
    return canvas.with_pixels(canvas.pixels.clamp(0, 1))


def compress(canvas: Canvas, draw: StageDraw) -> Canvas:
    """The JPEG of a pass; samples of quality 0 are left as they are."""
    for chroma in sorted(set(draw.chroma[draw.quality > 0].tolist())):
        coded = (draw.quality > 0) & (draw.chroma == chroma)
        out = jpeg(canvas, np.maximum(draw.quality, 1), chroma, step_scale=draw.step_scale)
        if coded.all():
            return out
        mask = torch.as_tensor(coded, device=canvas.pixels.device)[:, None, None, None]
        canvas = canvas.with_pixels(torch.where(mask, out.pixels, canvas.pixels))
    return canvas


def drawn_kernels(draw: StageDraw) -> Tensor:
    """Float64 `[n,k,k]` kernels of a pass, zero beyond each sample's own kernel size."""
    size = int(draw.kernel_size.max())
    names = set(draw.kernel.tolist())
    if len(names) == 1 and "none" not in names:
        return _kernels_of(names.pop(), draw, size)
    out = torch.zeros((len(draw.kernel), size, size), dtype=torch.float64)
    out[:, size // 2, size // 2] = 1.0
    for name in sorted(names - {"none"}):
        index = np.flatnonzero(draw.kernel == name)
        out[torch.as_tensor(index)] = _kernels_of(name, draw.take(index), size)
    return out


def _kernels_of(name: str, draw: StageDraw, size: int) -> Tensor:
    sizes = torch.as_tensor(draw.kernel_size)
    sigma_x, sigma_y = torch.as_tensor(draw.sigma_x), torch.as_tensor(draw.sigma_y)
    theta = torch.as_tensor(draw.theta)
    if name == "sinc":
        return sinc_kernels(size, torch.as_tensor(draw.cutoff), sizes)
    if name == "motion":
        return motion_kernels(size, sigma_x * MOTION_LENGTH_PER_SIGMA, theta)
    if name == "defocus":
        return defocus_kernels(size, sigma_x * DEFOCUS_RADIUS_PER_SIGMA)
    if name in ("iso", "aniso"):
        return gaussian_kernels(size, sigma_x, sigma_y, theta, sizes=sizes)
    plateau = torch.full((len(sizes),), name.startswith("plateau"))
    return gaussian_kernels(
        size, sigma_x, sigma_y, theta, torch.as_tensor(draw.beta), plateau, sizes
    )


def _sizes(draw: StageDraw) -> tuple[tuple[int, int], ...]:
    return tuple((int(h), int(w)) for h, w in zip(draw.height, draw.width, strict=True))


def _side_band(draw: StageDraw, i: int, source: int, target: int) -> Band:
    """The blur and resize of sample i along one side."""
    resize = resize_band(str(draw.mode[i]), source, target)
    if draw.kernel[i] == "none":
        return resize
    sigma = torch.as_tensor(draw.sigma_x[i : i + 1])
    return blur_band(gaussian_lines(int(draw.kernel_size[i]), sigma)[0], resize)
