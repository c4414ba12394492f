"""Blur kernels (Gaussian, sinc, motion, defocus), and blurring each sample with its own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.resize import (
    Band,
    Canvas,
    apply_sides,
    reflect_index,
    reflect_pad,
    resize_band,
)

_SUBSAMPLES = 8
"""Sub-pixel grid of a motion or defocus kernel's coverage, per axis."""


def gaussian_kernels(
    size: int,
    sigma_x: Tensor,
    sigma_y: Tensor,
    theta: Tensor,
    beta: Tensor | None = None,
    plateau: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """Float64 `[n,size,size]`, each of sum 1, of n (generalised, plateau) bivariate Gaussians.

    sigma_x, sigma_y `[n]` px, theta `[n]` radians; with quad = v' S^-1 v of the offset v = (x, y):
    exp(-quad/2); generalised exp(-quad^beta / 2) (Liu et al. 2020); 1 / (quad^beta + 1) where
    plateau is true. Real-ESRGAN (2107.10833, section 3.1). sizes `[n]` odd px cuts sample i
    to its own support.
    """
    x, y = _offsets(size, sigma_x.device)
    cos, sin = theta.double().cos()[:, None, None], theta.double().sin()[:, None, None]
    sx = sigma_x.double().clamp_min(1e-3)[:, None, None]
    sy = sigma_y.double().clamp_min(1e-3)[:, None, None]
    along, across = (cos * x + sin * y) / sx, (cos * y - sin * x) / sy
    quad = along.square() + across.square()
    if beta is None:
        kernel = torch.exp(-0.5 * quad)
    else:
        power = quad.pow(beta.double()[:, None, None])
        kernel = torch.exp(-0.5 * power)
        if plateau is not None:
            kernel = torch.where(plateau[:, None, None], 1.0 / (power + 1.0), kernel)
    return _normalised(kernel, x, y, sizes)


def gaussian_lines(size: int, sigma: Tensor, sizes: Tensor | None = None) -> Tensor:
    """Float64 `[n,size]`: the 1-D factor of the isotropic kernel, which is its outer square."""
    offsets = torch.arange(size, dtype=torch.float64, device=sigma.device) - size // 2
    line = torch.exp(-0.5 * (offsets / sigma.double().clamp_min(1e-3)[:, None]).square())
    if sizes is not None:
        line = line * (offsets.abs() <= (sizes // 2)[:, None])
    return line / line.sum(1, keepdim=True)


def sinc_kernels(size: int, cutoff: Tensor, sizes: Tensor | None = None) -> Tensor:
    """Float64 `[n,size,size]` circular low-pass kernels; cutoff `[n]` radians in (0, pi].

    w J1(w r) / (2 pi r), and w^2 / (4 pi) at the centre, scaled to sum 1 (Real-ESRGAN, 3.2).
    """
    x, y = _offsets(size, cutoff.device)
    r = (x.square() + y.square()).sqrt()
    w = cutoff.double()[:, None, None]
    kernel = w * torch.special.bessel_j1(w * r) / (2 * math.pi * r.clamp_min(1e-12))
    kernel = torch.where(r == 0, w.square() / (4 * math.pi), kernel)
    return _normalised(kernel, x, y, sizes)


def motion_kernels(size: int, length: Tensor, theta: Tensor) -> Tensor:
    """Float64 `[n,size,size]`: a line of length `[n]` px at theta `[n]` radians, one px wide.

    The exact share of the thick line in each pixel, measured on an 8 x 8 grid in it.
    """
    x, y = _fine_offsets(size, length.device)
    cos, sin = theta.double().cos()[:, None, None], theta.double().sin()[:, None, None]
    along, across = cos * x + sin * y, cos * y - sin * x
    half = 0.5 * length.double().clamp_min(1.0)[:, None, None]
    return _covered((along.abs() <= half) & (across.abs() <= 0.5), size)


def defocus_kernels(size: int, radius: Tensor) -> Tensor:
    """Float64 `[n,size,size]`: a disc of radius `[n]` px, by its share of each pixel (8 x 8)."""
    x, y = _fine_offsets(size, radius.device)
    r = radius.double().clamp_min(0.5)[:, None, None]
    return _covered(x.square() + y.square() <= r.square(), size)


def _offsets(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    line = torch.arange(size, dtype=torch.float64, device=device) - size // 2
    return line[None, None, :], line[None, :, None]


def _fine_offsets(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    count = size * _SUBSAMPLES
    line = (torch.arange(count, dtype=torch.float64, device=device) + 0.5) / _SUBSAMPLES - size / 2
    return line[None, None, :], line[None, :, None]


def _covered(mask: Tensor, size: int) -> Tensor:
    n = mask.shape[0]
    kernel = mask.double().view(n, size, _SUBSAMPLES, size, _SUBSAMPLES).mean(dim=(2, 4))
    return kernel / kernel.sum(dim=(1, 2), keepdim=True)


def _normalised(kernel: Tensor, x: Tensor, y: Tensor, sizes: Tensor | None) -> Tensor:
    if sizes is not None:
        half = (sizes // 2)[:, None, None]
        kernel = kernel * ((x.abs() <= half) & (y.abs() <= half))
    return kernel / kernel.sum(dim=(1, 2), keepdim=True)


DIRECT_MAX_SIZE = 9
"""Kernels up to this size are faster as a grouped convolution than by FFT (measured at 256 px)."""


def blur(canvas: Canvas, kernels: Tensor) -> Canvas:
    """Each sample correlated with its kernel `[n,k,k]`, k odd, at a reflect-101 border.

    As `cv2.filter2D` (BORDER_DEFAULT). Differentiable in the pixels.
    """
    size = kernels.shape[-1]
    if kernels.ndim != 3 or size % 2 == 0 or kernels.shape[1] != size:
        raise ValueError(f"found kernels of shape {tuple(kernels.shape)}, expected odd [n,k,k]")
    kernels = kernels.to(canvas.pixels)
    padded = reflect_pad(canvas, size // 2)
    by = _convolve_direct if size <= DIRECT_MAX_SIZE else _convolve_fft
    return canvas.with_pixels(by(padded, kernels))


def filter_lines(canvas: Canvas, lines: Tensor) -> Tensor:
    """Pixels after each sample's line `[n,k]`, k odd, along both sides, at a reflect-101 border.

    As `cv2.sepFilter2D` with the line twice (BORDER_DEFAULT).
    """
    rows, columns = [], []
    for line, (h, w) in zip(lines, canvas.sizes, strict=True):
        rows.append(blur_band(line, resize_band("bilinear", h, h)))
        columns.append(rows[-1] if w == h else blur_band(line, resize_band("bilinear", w, w)))
    return apply_sides(canvas, rows, columns)


def blur_band(line: Tensor, after: Band) -> Band:
    """Blur of a row of pixels by line `[k]`, k odd, at a reflect-101 border, and `after` it."""
    k = line.shape[0]
    reflected = reflect_index(after.source, k // 2, after.source + k - 1, line.device)
    index = after.index[:, :, None] + torch.arange(k)
    weights = after.weights[:, :, None] * line.to(after.weights)
    return Band(after.source, reflected[index].flatten(1), weights.flatten(1))


def _convolve_direct(padded: Tensor, kernels: Tensor) -> Tensor:
    n, c, h, w = padded.shape
    k = kernels.shape[-1]
    weight = kernels[:, None, None].expand(n, c, 1, k, k).reshape(n * c, 1, k, k)
    out = F.conv2d(padded.reshape(1, n * c, h, w), weight, groups=n * c)
    return out.view(n, c, h - k + 1, w - k + 1)


def _convolve_fft(padded: Tensor, kernels: Tensor) -> Tensor:
    _, _, h, w = padded.shape
    k = kernels.shape[-1]
    # wrapping around soils only the border that is cut off again
    shape = (fft_length(h), fft_length(w))
    spectrum = torch.fft.rfft2(padded, s=shape)
    # the k rows of the kernel first: the others are zero
    lines = torch.fft.rfft(kernels[:, None], n=shape[1])
    # correlation, not convolution: cv2.filter2D does not flip its kernel
    spectrum = spectrum * torch.fft.fft(lines, n=shape[0], dim=-2).conj()
    found: Tensor = torch.fft.irfft2(spectrum, s=shape)[..., : h - k + 1, : w - k + 1]
    return found


def fft_length(length: int) -> int:
    """The smallest even 2-3-5-smooth number >= length: those transform fastest."""
    n = length + length % 2
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2
