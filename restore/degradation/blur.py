"""Blurring each sample of a canvas with its own kernel: direct, by FFT, or as two matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.degradation.bands import Band
from restore.degradation.canvas import Canvas, reflect_index, reflect_pad
from restore.degradation.resize import apply_sides, resize_band

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
