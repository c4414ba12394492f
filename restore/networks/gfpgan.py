"""GFPGAN's encoder, clean and original, on a StyleGAN2 decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.prior_restorer import Encoding, PriorRestorer, sharpen_conditions
from restore.networks.stylegan2 import (
    BINOMIAL_TAPS,
    StyleGAN2Generator,
    channel_table,
    downsample_bilinear,
    downsample_fir,
    fir_smooth,
    size_log2,
    upsample_bilinear,
)

Downsampling = Literal["bilinear", "fir"]


class DownBlock(nn.Module):
    """Residual block that halves the size; the factors of the equalised dialects are folded in."""

    def __init__(self, in_channels: int, out_channels: int, downsample: Downsampling) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv1(x), 0.2)
        if self.downsample == "fir":
            # The original blurs, then strides without padding: the border counts as blurred zeros.
            y = fir_smooth(y, BINOMIAL_TAPS, (2, 2))
            y = F.conv2d(y, self.conv2.weight, self.conv2.bias, stride=2)
            skip = downsample_fir(x)
        else:
            y = self.conv2(downsample_bilinear(y))
            skip = downsample_bilinear(x)
        found: Tensor = F.leaky_relu(y, 0.2) + self.skip(skip)
        return found


class UpBlock(nn.Module):
    """Residual block that doubles the size, bilinear in every dialect."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv1(x), 0.2)
        y = F.leaky_relu(self.conv2(upsample_bilinear(y)), 0.2)
        # Resizing and a 1x1 convolution commute; the convolution is cheaper before.
        return y + upsample_bilinear(self.skip(x))


class GFPGANEncoder(nn.Module):
    """`encoder(lq [n,3,s,s] RGB in [-1,1]) -> Encoding` with maps for every level from 8 px up.

    `channels`: U-Net feature maps at 4, 8, ... size px; `condition_channels`: those of the SFT maps
    at 8, 16, ... px (half the decoder's with sft_half, else all of them). `different_w`: one code
    for each style instead of one for all. `downsample`: "fir" is the original v1.
    """

    dial = staticmethod(sharpen_conditions)  # it was trained without one

    def __init__(
        self,
        size: int,
        channels: Sequence[int],
        condition_channels: Sequence[int],
        w_dim: int = 512,
        different_w: bool = True,
        downsample: Downsampling = "bilinear",
    ) -> None:
        super().__init__()
        levels = size_log2(size) - 1
        if len(channels) != levels or len(condition_channels) != levels - 1:
            raise ValueError(
                f"A U-Net of {size} px has {levels} levels and {levels - 1} pairs of maps, got "
                f"{len(channels)} and {len(condition_channels)} channels"
            )
        self.size = size
        self.w_dim = w_dim
        self.num_styles = 2 * levels
        self.different_w = different_w
        self.first = nn.Conv2d(3, channels[-1], 1)
        self.down = nn.ModuleList(
            DownBlock(channels[i], channels[i - 1], downsample) for i in range(levels - 1, 0, -1)
        )
        self.bottom = nn.Conv2d(channels[0], channels[0], 3, padding=1)
        self.to_codes = nn.Linear(channels[0] * 16, w_dim * (self.num_styles if different_w else 1))
        self.up = nn.ModuleList(UpBlock(channels[i - 1], channels[i]) for i in range(1, levels))
        self.to_rgb = nn.ModuleList(nn.Conv2d(c, 3, 1) for c in channels[1:])
        self.to_scale = nn.ModuleList()
        self.to_shift = nn.ModuleList()
        for width, maps in zip(channels[1:], condition_channels, strict=True):
            self.to_scale.append(_maps(width, maps, start=1.0))
            self.to_shift.append(_maps(width, maps, start=0.0))

    def _features(self, lq: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Codes [n,k,w_dim] and the decoder-side features at 8, 16, ... px."""
        if lq.ndim != 4 or tuple(lq.shape[1:]) != (3, self.size, self.size):
            raise ValueError(
                f"This network reads [n,3,{self.size},{self.size}], got {tuple(lq.shape)}"
            )
        x = F.leaky_relu(self.first(lq), 0.2)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = F.leaky_relu(self.bottom(x), 0.2)
        codes = self.to_codes(x.flatten(1)).reshape(x.shape[0], -1, self.w_dim)
        features = []
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(x + skip)
            features.append(x)
        return codes.expand(-1, self.num_styles, -1), features

    def _encoding(self, codes: Tensor, features: list[Tensor]) -> Encoding:
        # Levels are counted, not read from shapes: under tracing a shape is no dictionary key.
        conditions = {
            8 * 2**i: (scale(x), shift(x))
            for i, (x, scale, shift) in enumerate(
                zip(features, self.to_scale, self.to_shift, strict=True)
            )
        }
        return Encoding(codes, conditions)

    def forward(self, lq: Tensor) -> Encoding:
        return self._encoding(*self._features(lq))

    def side_images(self, lq: Tensor) -> list[Tensor]:
        """RGB [n,3,r,r] at r = 8, 16, ... size px, for the pyramid loss."""
        return [to_rgb(x) for to_rgb, x in zip(self.to_rgb, self._features(lq)[1], strict=True)]

    def encode_with_side_images(self, lq: Tensor) -> tuple[Encoding, list[Tensor]]:
        """Both results from one pass, for training."""
        codes, features = self._features(lq)
        images = [to_rgb(x) for to_rgb, x in zip(self.to_rgb, features, strict=True)]
        return self._encoding(codes, features), images


def _maps(in_channels: int, out_channels: int, start: float) -> nn.Sequential:
    """Two 3x3 convolutions to an SFT map that begins near `start` everywhere."""
    last = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.constant_(last.bias, start)  # type: ignore[arg-type]
    return nn.Sequential(nn.Conv2d(in_channels, in_channels, 3, padding=1), nn.LeakyReLU(0.2), last)


def build_gfpgan(
    out_size: int = 512,
    channel_multiplier: float = 2,
    narrow: float = 1,
    w_dim: int = 512,
    num_mlp: int = 8,
    different_w: bool = True,
    sft_half: bool = True,
    resample: Downsampling = "bilinear",
    channels: Sequence[int] | None = None,
    unet_channels: Sequence[int] | None = None,
) -> PriorRestorer:
    """GFPGAN: U-Net and StyleGAN2. `resample`: "bilinear" is clean and bilinear, "fir" original v1.

    Explicit channel tables (4, 8, ... out_size px) override `channel_multiplier` and `narrow`.
    """
    decoder_channels = channels or channel_table(out_size, channel_multiplier, narrow)
    encoder_channels = unet_channels or channel_table(out_size, channel_multiplier, narrow * 0.5)
    maps = [c if sft_half else 2 * c for c in encoder_channels[1:]]
    encoder = GFPGANEncoder(out_size, encoder_channels, maps, w_dim, different_w, resample)
    decoder = StyleGAN2Generator(
        out_size, decoder_channels, w_dim, num_mlp=num_mlp, upsample=resample
    )
    return PriorRestorer(encoder, decoder)
