"""Drawing what is done to each sample in one pass: StageDraw, in pixels of the picture at hand."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from restore.degradation.draws import Draws
from restore.degradation.effects import Drawn, draw_effects
from restore.options.degradation import Range, Stage

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
        return (self.kernel == "none") | (self.kernel == "iso")


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
    return low + 2 * np.floor(draws.uniform(f"{name}.kernel_size", 0, steps)).astype(np.int64)


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
