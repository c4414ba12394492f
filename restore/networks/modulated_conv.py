"""StyleGAN2's modulated convolution: scale inputs, convolve with shared weights, scale outputs."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.resample import BINOMIAL_TAPS, Taps, fir_smooth, upsample_bilinear

Upsampling = Literal["fir", "bilinear"]
EPSILON = 1e-8


def modulated_conv(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulate: bool = True,
    upsample: Upsampling | None = None,
    taps: Taps = BINOMIAL_TAPS,
    gain: float = 1.0,
) -> Tensor:
    """Convolve each sample with `weight` modulated by its styles (arXiv 1912.04958, eqs. 1 and 3).

    `x` [n,i,h,w]; `weight` [o,i,k,k], k odd; `styles` [n,i]. Modulation and demodulation are
    diagonal, so they move from the weights to inputs and outputs: one batched convolution.
    `upsample` doubles the size: "fir" by transposed convolution and blur, "bilinear" by resizing
    before the convolution. `gain` multiplies the result. Returns [n,o,h,w] or [n,o,2h,2w].

    In half precision (or under autocast) styles are first divided by their largest magnitude m and
    the demodulation, computed in float32, takes it back: s rsqrt(sum w^2 s^2 + e) =
    (s/m) rsqrt(sum w^2 (s/m)^2 + e/m^2), so nothing overflows and nothing changes.
    """
    styles = styles.to(torch.promote_types(styles.dtype, torch.float32))
    epsilon: Tensor | float = EPSILON
    largest: Tensor | None = None
    if x.dtype == torch.float16 or torch.is_autocast_enabled(x.device.type):
        largest = styles.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)  # [n,1]
        styles = styles / largest
        epsilon = EPSILON / largest.square()
    scale: Tensor | None = None  # [n,o], what the outputs are multiplied by
    if demodulate:
        power = weight.to(styles.dtype).square().sum(dim=(2, 3))  # [o,i]
        with torch.autocast(x.device.type, enabled=False):
            scale = torch.rsqrt(styles.square() @ power.t() + epsilon) * gain
    elif largest is not None:
        scale = largest * gain
    elif gain != 1.0:
        scale = styles.new_full((1, 1), gain)

    x = x * styles.to(x.dtype)[:, :, None, None]
    x = _convolve(x, weight.to(x.dtype), upsample, taps)
    if scale is not None:
        x = x * scale.to(x.dtype)[:, :, None, None]
    return x


def _convolve(x: Tensor, weight: Tensor, upsample: Upsampling | None, taps: Taps) -> Tensor:
    kernel_size = weight.shape[-1]
    if upsample == "fir":
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [n,o,2h+k-2,2w+k-2]
        pad = len(taps) - 2 - (kernel_size - 1)
        return fir_smooth(x, taps, ((pad + 1) // 2 + 1, pad // 2 + 1), gain=4.0)
    if upsample == "bilinear":
        x = upsample_bilinear(x)
    return F.conv2d(x, weight, padding=kernel_size // 2)


def modulated_conv_reference(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulate: bool = True,
    upsample: Upsampling | None = None,
    taps: Taps = BINOMIAL_TAPS,
    gain: float = 1.0,
) -> Tensor:
    """The same, as the paper writes it: every sample has its own weights. Slow; for tests."""
    w = weight[None] * styles[:, None, :, None, None]  # [n,o,i,k,k]
    if demodulate:
        w = w * torch.rsqrt(w.square().sum(dim=(2, 3, 4), keepdim=True) + EPSILON)
    out = [
        _convolve(sample[None], kernel, upsample, taps) for sample, kernel in zip(x, w, strict=True)
    ]
    return torch.cat(out) * gain


class ModulatedConv2d(nn.Module):
    """A modulated convolution with its affine map from w [n,w_dim] to styles [n,in_channels].

    Weights are plain: equalised learning-rate factors of other layouts are folded in by the loader.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        w_dim: int,
        demodulate: bool = True,
        upsample: Upsampling | None = None,
        taps: Taps = BINOMIAL_TAPS,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        fan_in = in_channels * kernel_size**2
        self.weight = nn.Parameter(
            torch.randn(out_channels, in_channels, kernel_size, kernel_size) / math.sqrt(fan_in)
        )
        self.affine = nn.Linear(w_dim, in_channels)
        nn.init.normal_(self.affine.weight, std=1 / math.sqrt(w_dim))
        nn.init.ones_(self.affine.bias)
        self.demodulate = demodulate
        self.upsample = upsample
        self.taps = tuple(taps)
        self.gain = gain

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """`x` [n,i,h,w] and styles [n,i] -> [n,o,h,w], or twice the size when upsampling."""
        return modulated_conv(
            x, self.weight, styles, self.demodulate, self.upsample, self.taps, self.gain
        )
