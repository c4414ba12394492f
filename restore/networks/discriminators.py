"""Discriminators: StyleGAN2's, of patches, and of eyes and mouth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from restore.networks.stylegan2 import (
    BINOMIAL_TAPS,
    Taps,
    channel_table,
    downsample_fir,
    fir_smooth,
    size_log2,
)

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
        found: Tensor = self[1](self[0](x, padding=self.padding))
        return found


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
        found: Tensor = (y + self.skip[1](downsample_fir(x, self.taps))) / SQRT2
        return found


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
        found: Tensor = logit(F.leaky_relu(hidden(x), 0.2) * SQRT2)
        return found


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


class _EqualConv(nn.Module):
    """3x3 convolution, weights drawn from N(0,1) and scaled at run time (Karras 2018, 4.1)."""

    def __init__(self, channels: int, out: int, stride: int, padding: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None
        self.scale = 1 / math.sqrt(channels * 9)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class _Smooth(nn.Module):
    """The [1,3,3,1] filter in front of a strided convolution, padded so that sides halve."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(row, row)[None, None] / 64, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, padding=2, groups=channels)


class _BiasedLeaky(nn.Module):
    """Bias, leaky ReLU of 0.2, gain of sqrt 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], 0.2) * math.sqrt(2)


def _layer(channels: int, out: int, down: bool) -> nn.Sequential:
    conv = _EqualConv(channels, out, 2 if down else 1, 0 if down else 1, bias=False)
    return nn.Sequential(*([_Smooth()] if down else []), conv, _BiasedLeaky(out))


class PartDiscriminator(nn.Module):
    """`forward(part [n,3,k,k] in [-1,1]) -> (logits [n,1,k/4,k/4], two feature maps)`.

    Architecture and key names of GFPGAN's FacialComponentDiscriminator at `width` 64, so that
    its checkpoints load; sides must divide by 4.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv1 = _layer(3, width, down=False)
        self.conv2 = _layer(width, 2 * width, down=True)
        self.conv3 = _layer(2 * width, 2 * width, down=False)
        self.conv4 = _layer(2 * width, 4 * width, down=True)
        self.conv5 = _layer(4 * width, 4 * width, down=False)
        self.final_conv = nn.Sequential(_EqualConv(4 * width, 1, 1, 1, bias=True))

    def forward(self, part: Tensor) -> tuple[Tensor, list[Tensor]]:
        early = self.conv3(self.conv2(self.conv1(part)))
        late = self.conv5(self.conv4(early))
        return self.final_conv(late), [early, late]


class _Judge(nn.Module):
    """Convolutions to a map of logits; the first `downs` of the two halve the size."""

    def __init__(self, channels: int, width: int, downs: int, spectral: bool) -> None:
        super().__init__()

        def conv(a: int, b: int, kernel: int, stride: int = 1) -> nn.Module:
            # At stride 2 a kernel of 4 covers every pixel equally often: no checkerboards.
            layer = nn.Conv2d(a, b, kernel, stride, padding=(kernel - 1) // 2)
            return spectral_norm(layer) if spectral else layer

        wide = 2 * width
        self.enter = conv(channels, width, 3 if downs else 1)
        self.middle = conv(width, wide, 4 if downs > 0 else 3, 2 if downs > 0 else 1)
        self.last = conv(wide, wide, 4 if downs > 1 else 3, 2 if downs > 1 else 1)
        self.logits = conv(wide, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.enter, self.middle, self.last):
            x = F.leaky_relu(layer(x), 0.2)
        found: Tensor = self.logits(x)
        return found


class PatchDiscriminator(nn.Module):
    """Maps of logits, real > 0: `forward(image [n,c,s,s] in [-1,1], features=()) -> list`.

    The pixels are folded by `fold` (space to depth: 2 at 256², 4 at 512² keeps a step on a CPU
    cheap) and judged in patches of about 20 folded pixels. With `feature_channels` each frozen
    activation passed as `features` (SqueezeNet's, say, shared with the perceptual loss) gets its
    own judge: a projected GAN (Sauer 2021) without its random mixing. Spectral norm bounds the
    gradients so that no R1 is needed; without it, use R1. `channels` 6 judges pairs (LQ beside).
    Mask the maps, not the image: reflected borders are as reflected in real ones.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 32,
        fold: int = 2,
        feature_channels: Sequence[int] = (),
        spectral: bool = True,
    ) -> None:
        super().__init__()
        self.fold = fold
        self.on_pixels = _Judge(channels * fold * fold, width, 2, spectral)
        self.on_features = nn.ModuleList(_Judge(c, width, 0, spectral) for c in feature_channels)

    def forward(self, image: Tensor, features: Sequence[Tensor] = ()) -> list[Tensor]:
        if len(features) != len(self.on_features):
            raise ValueError(
                f"got {len(features)} feature maps for {len(self.on_features)} feature judges"
            )
        maps = [self.on_pixels(F.pixel_unshuffle(image, self.fold))]
        maps.extend(judge(x) for judge, x in zip(self.on_features, features, strict=True))
        return maps
