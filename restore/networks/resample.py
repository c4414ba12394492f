"""Resampling by two: FIR filters as StyleGAN2 uses them, and plain bilinear, with a reference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Taps = Sequence[float]
BINOMIAL_TAPS: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)


def upfirdn_reference(
    x: Tensor,
    taps: Taps,
    up: int = 1,
    down: int = 1,
    pad: tuple[int, int] = (0, 0),
    gain: float = 1.0,
) -> Tensor:
    """Zero-insert, pad, convolve with the outer product of `taps`, keep every `down`-th pixel.

    The specification of the fast functions below (arXiv 1912.04958, appendix B). `x` [n,c,h,w];
    `pad` (before, after) in pixels on both axes, negative crops; taps are normalised to sum 1, then
    the filter is multiplied by `gain`. Returns [n,c,(h up + pads - t) // down + 1, ...].
    """
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h, up, w, up)
    spread[:, :, :, 0, :, 0] = x
    padded = F.pad(spread.reshape(n, c, h * up, w * up), (*pad, *pad))
    line = torch.as_tensor(tuple(taps), dtype=x.dtype, device=x.device)
    kernel = torch.outer(line, line) / line.sum() ** 2 * gain
    flipped = kernel.flip(0, 1)  # conv2d correlates; a filter convolves
    out = F.conv2d(padded.reshape(-1, 1, *padded.shape[2:]), flipped[None, None])
    return out.reshape(n, c, *out.shape[2:])[:, :, ::down, ::down]


def _line(x: Tensor, taps: Taps, gain: float) -> Tensor:
    """Normalised 1D filter [t] of x's dtype and device; `gain` is per axis."""
    total = sum(taps)
    return torch.tensor([gain * t / total for t in taps], dtype=x.dtype, device=x.device)


def fir_smooth(x: Tensor, taps: Taps, pad: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Blur [n,c,h,w] with the separable filter; as `upfirdn_reference(x, taps, pad=, gain=)`."""
    channels = int(x.shape[1])  # int and reversed tuples: constants for tracing exporters
    line = _line(x, tuple(taps)[::-1], gain**0.5)
    rows = line.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1)
    columns = line.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
    x = F.conv2d(F.pad(x, (*pad, *pad)), rows, groups=channels)
    return F.conv2d(x, columns, groups=channels)


def upsample_fir(x: Tensor, taps: Taps = BINOMIAL_TAPS) -> Tensor:
    """[n,c,h,w] -> [n,c,2h,2w], four taps; as `upfirdn_reference(x, taps, 2, 1, (2, 1), 4)`."""
    channels = int(x.shape[1])
    line = _line(x, _four(taps), 2.0)
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


def downsample_fir(x: Tensor, taps: Taps = BINOMIAL_TAPS) -> Tensor:
    """[n,c,h,w] -> [n,c,h/2,w/2], four taps; as `upfirdn_reference(x, taps, 1, 2, (1, 1))`."""
    channels = int(x.shape[1])
    line = _line(x, tuple(_four(taps))[::-1], 1.0)
    kernel = torch.outer(line, line).expand(channels, 1, -1, -1)
    return F.conv2d(x, kernel, stride=2, padding=1, groups=channels)


def upsample_bilinear(x: Tensor) -> Tensor:
    """[n,c,h,w] -> [n,c,2h,2w], pixel-centred bilinear with repeated borders."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def downsample_bilinear(x: Tensor) -> Tensor:
    """[n,c,h,w] -> [n,c,h/2,w/2]; bilinear at exactly half size is the mean of 2x2 pixels."""
    return F.avg_pool2d(x, 2)


def _four(taps: Taps) -> Taps:
    if len(taps) != 4:
        raise ValueError(f"Resampling by two is written for 4 taps, got {len(taps)}: {tuple(taps)}")
    return taps
