"""Blur kernels: Gaussian families, sinc, motion and defocus, each for n samples at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

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
