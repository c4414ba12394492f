"""Noise of each sample's own strength: Gaussian, Poisson, film grain."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from restore.degradation.draws import normal_fields
from restore.degradation.resize import Canvas

LUMA = (0.299, 0.587, 0.114)


def luma(x: Tensor) -> Tensor:
    """`[n,3,h,w]` RGB -> `[n,1,h,w]`, the weights of ITU-R BT.601 (cv2's RGB2GRAY)."""
    r, g, b = LUMA
    return (x[:, :1] * r).add_(x[:, 1:2], alpha=g).add_(x[:, 2:3], alpha=b)


def add_gaussian_noise(
    canvas: Canvas,
    sigma: np.ndarray,
    gray: np.ndarray,
    seeds: np.ndarray,
    chroma: np.ndarray | None = None,
) -> Canvas:
    """Pixels in [0,1] plus noise of sigma `[n]` in 0..255, one field for all channels where gray.

    Where chroma and not gray, the noise keeps the pixel's luma: it is of colour alone. Not clamped.
    seeds `[n]` int64: the noise of sample i is a function of seeds[i] and its size.
    """
    x = canvas.pixels
    fields = normal_fields(seeds, canvas.sizes, x.shape[1], x.device).to(x.dtype)
    if chroma is not None and (chroma & ~gray).any():
        only = per_sample(chroma & ~gray, x)
        fields = fields - luma(fields) * only
    fields = _share_channels(fields, gray)
    return canvas.with_pixels(x + fields * per_sample(sigma / 255.0, x))


def add_poisson_noise(
    canvas: Canvas, scale: np.ndarray, gray: np.ndarray, seeds: np.ndarray
) -> Canvas:
    """Pixels in [0,1] plus scale `[n]` times their Poisson noise; Real-ESRGAN's `generate_poisson`.

    The photon count of white is the number of different 8-bit values in the sample, rounded up to
    a power of two, as in basicsr. Not clamped.
    """
    x = canvas.pixels
    out = x.clone()
    generator = torch.Generator(x.device)
    for i, (h, w) in enumerate(canvas.sizes):
        if scale[i] <= 0:
            continue
        clean = (x[i : i + 1, :, :h, :w].clamp(0, 1) * 255).round() / 255
        clean = luma(clean) if gray[i] else clean
        count = int((clean * 255).round().unique().numel())
        white = 2.0 ** int(np.ceil(np.log2(max(count, 2))))
        generator.manual_seed(int(seeds[i]))
        noise = torch.poisson(clean * white, generator=generator) / white - clean
        out[i : i + 1, :, :h, :w] += noise * float(scale[i])
    return canvas.with_pixels(out)


def add_film_grain(
    canvas: Canvas, strength: np.ndarray, grain_size: np.ndarray, seeds: np.ndarray
) -> Canvas:
    """Pixels in [0,1] with silver grain: one field, smoothed, strongest in the mid-tones.

    strength `[n]`: its standard deviation at mid gray in 0..255; grain_size `[n]` px: sigma of
    the Gaussian that makes clumps of single pixels. Density noise of a film falls towards
    black and white: weight 2 sqrt(y (1 - y)).
    """
    x = canvas.pixels
    field = normal_fields(seeds, canvas.sizes, 1, x.device).to(x.dtype)
    sigma = per_sample(np.maximum(grain_size, 0.05), x)[:, 0]
    offsets = torch.arange(-2, 3, device=x.device, dtype=x.dtype)
    line = torch.exp(-0.5 * (offsets / sigma[:, 0, :, None]).square()).view(len(seeds), 5)
    line = line / line.square().sum(1, keepdim=True).sqrt()  # unit variance after both passes
    field = _smooth(field, line)
    y = luma(x).clamp(0, 1)
    weight = 2 * (y * (1 - y)).clamp_min(1e-6).sqrt()
    return canvas.with_pixels(x + field * weight * per_sample(strength / 255.0, x))


def per_sample(values: np.ndarray, like: Tensor) -> Tensor:
    """A number for each sample as `[n,1,1,1]` of the type and on the device of like."""
    return torch.as_tensor(values).to(like.dtype).to(like.device)[:, None, None, None]


def _share_channels(fields: Tensor, gray: np.ndarray) -> Tensor:
    if not gray.any():
        return fields
    if gray.all():
        return fields[:, :1]
    mask = torch.as_tensor(gray).to(fields.device)[:, None, None, None]
    return torch.where(mask, fields[:, :1], fields)


def _smooth(field: Tensor, line: Tensor) -> Tensor:
    n, _, h, w = field.shape
    field = field.view(1, n, h, w)
    field = torch.nn.functional.conv2d(field, line[:, None, :, None], padding=(2, 0), groups=n)
    field = torch.nn.functional.conv2d(field, line[:, None, None, :], padding=(0, 2), groups=n)
    return field.view(n, 1, h, w)
