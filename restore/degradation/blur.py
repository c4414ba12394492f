"""Blurring each sample of a canvas with its own kernel: direct, by FFT, or as two matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.canvas import Canvas, reflect_index, reflect_pad

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


def blur_matrix(line: Tensor, length: int) -> Tensor:
    """`[length,length]`, line's type: blur of a row of pixels by line `[k]`, reflect-101 border.

    Its rows, resized, are a matrix that blurs and resizes at once.
    """
    size = line.shape[0]
    index = reflect_index(length, size // 2, length + size - 1, line.device)
    columns = index.unfold(0, size, 1)
    matrix = torch.zeros((length, length), dtype=line.dtype, device=line.device)
    return matrix.scatter_add_(1, columns, line.expand(length, size))


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
    # correlation, not convolution: cv2.filter2D does not flip its kernel
    spectrum = spectrum * torch.fft.rfft2(kernels[:, None], s=shape).conj()
    return torch.fft.irfft2(spectrum, s=shape)[..., : h - k + 1, : w - k + 1]


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
