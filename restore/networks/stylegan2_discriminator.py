"""The StyleGAN2 discriminator (arXiv 1912.04958, residual), with BasicSR's parameter names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.resample import BINOMIAL_TAPS, Taps, downsample_fir, fir_smooth
from restore.networks.stylegan2_generator import channel_table, size_log2

SQRT2 = math.sqrt(2)


class EqualConv2d(nn.Module):
    """Convolution with stored weights of unit variance; 1/sqrt(fan in) is applied at run time."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.gain = 1 / math.sqrt(in_channels * kernel_size**2)

    def forward(self, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, stride=stride, padding=padding)


class EqualLinear(nn.Module):
    """Linear layer with an equalised learning rate."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.gain = 1 / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, self.bias)


class BiasedLeakyReLU(nn.Module):
    """Bias, leaky ReLU of slope 0.2, gain sqrt 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], 0.2) * SQRT2


class ConvLayer(nn.Sequential):
    """Convolution and activation; same size."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        conv = EqualConv2d(in_channels, out_channels, kernel_size)
        super().__init__(conv, BiasedLeakyReLU(out_channels))
        self.padding = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x, padding=self.padding))


class ResidualBlock(nn.Module):
    """Two convolutions and a skip, half the size; index 0 of conv2 and skip is the blur's place."""

    def __init__(self, in_channels: int, out_channels: int, taps: Taps) -> None:
        super().__init__()
        self.conv1 = ConvLayer(in_channels, in_channels, 3)
        self.conv2 = nn.Sequential(
            nn.Identity(), EqualConv2d(in_channels, out_channels, 3), BiasedLeakyReLU(out_channels)
        )
        self.skip = nn.Sequential(nn.Identity(), EqualConv2d(in_channels, out_channels, 1))
        self.taps = tuple(taps)

    def forward(self, x: Tensor) -> Tensor:
        y = fir_smooth(self.conv1(x), self.taps, (2, 2))
        y = self.conv2[2](self.conv2[1](y, stride=2))
        return (y + self.skip[1](downsample_fir(x, self.taps))) / SQRT2


class StyleGAN2Discriminator(nn.Module):
    """Image [n,3,s,s] RGB in [-1,1] -> logit [n,1].

    `channels`: feature maps at 4, 8, ... size px. Batches that `stddev_group` does not divide use
    the largest smaller group that does.
    """

    def __init__(
        self,
        size: int,
        channels: Sequence[int],
        taps: Taps = BINOMIAL_TAPS,
        stddev_group: int = 4,
    ) -> None:
        super().__init__()
        levels = size_log2(size) - 1
        if len(channels) != levels:
            raise ValueError(
                f"A discriminator of {size} px has {levels} levels, got {len(channels)} channels"
            )
        self.size = size
        self.stddev_group = stddev_group
        blocks: list[nn.Module] = [ConvLayer(3, channels[-1], 1)]
        for i in range(levels - 1, 0, -1):
            blocks.append(ResidualBlock(channels[i], channels[i - 1], taps))
        self.conv_body = nn.Sequential(*blocks)
        self.final_conv = ConvLayer(channels[0] + 1, channels[0], 3)
        self.final_linear = nn.Sequential(
            EqualLinear(channels[0] * 16, channels[0]), EqualLinear(channels[0], 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, self.size, self.size):
            raise ValueError(
                f"This network judges [n,3,{self.size},{self.size}], got {tuple(image.shape)}"
            )
        x = append_stddev(self.conv_body(image), self.stddev_group)
        x = self.final_conv(x).flatten(1)
        hidden, logit = self.final_linear
        return logit(F.leaky_relu(hidden(x), 0.2) * SQRT2)


def append_stddev(x: Tensor, group: int) -> Tensor:
    """Minibatch standard deviation (arXiv 1710.10196, sec. 3): [n,c,h,w] -> [n,c+1,h,w].

    Sample i shares its group with i + n/g, i + 2n/g, ...: the layout of the public checkpoints.
    """
    n, c, h, w = x.shape
    group = max(g for g in range(1, min(group, n) + 1) if n % g == 0)
    grouped = x.reshape(group, n // group, c, h, w)
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [n/g]
    plane = deviation.repeat(group)[:, None, None, None].expand(-1, 1, h, w)
    return torch.cat([x, plane], dim=1)


def build_discriminator(
    size: int,
    channel_multiplier: float = 2,
    narrow: float = 1,
    channels: Sequence[int] | None = None,
    **options: object,
) -> StyleGAN2Discriminator:
    """A discriminator from the option files' arguments, or from an explicit channel table."""
    table = channels or channel_table(size, channel_multiplier, narrow)
    return StyleGAN2Discriminator(size, table, **options)  # type: ignore[arg-type]
