"""One pass over a canvas: blur, resize, noise, JPEG, each sample by its own draw."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from restore.degradation.bands import Band
from restore.degradation.blur import blur, blur_band
from restore.degradation.canvas import Canvas
from restore.degradation.jpeg import jpeg
from restore.degradation.kernels import (
    defocus_kernels,
    gaussian_kernels,
    gaussian_lines,
    motion_kernels,
    sinc_kernels,
)
from restore.degradation.noise import add_gaussian_noise, add_poisson_noise
from restore.degradation.resize import apply_sides, resize_band, resize_each
from restore.degradation.sample import (
    DEFOCUS_RADIUS_PER_SIGMA,
    MOTION_LENGTH_PER_SIGMA,
    StageDraw,
)


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
