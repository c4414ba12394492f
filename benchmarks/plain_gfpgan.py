"""The GFPGAN-size network as its authors compute it: the reference that speed is a ratio to.

Every sample has its own modulated weights, in one grouped convolution; noise, bias and activation
are separate steps; maps are resized before they are projected; float32, NCHW, eager. Honest, not
slowed down: side images, random noise and all that a caller can switch off in GFPGAN is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.networks.gfpgan import GFPGANEncoder, build_gfpgan
from restore.networks.prior_restorer import PriorRestorer
from restore.networks.stylegan2 import StyleGAN2Generator

IMAGE_SPREAD = 0.4
"""Share of the RGB layers' random weights: images then spread as photos do (0.5 in [-1,1])."""


def random_gfpgan(size: int = 512) -> PriorRestorer:
    """GFPGAN clean, channel multiplier 2: random weights whose features have trained scale."""
    network = build_gfpgan(out_size=size).eval().requires_grad_(False)
    for layer in cast(StyleGAN2Generator, network.decoder).to_rgbs:
        cast(Any, layer).conv.weight *= IMAGE_SPREAD
    return network


class PlainGFPGAN(nn.Module):
    """Runs the weights of a clean `PriorRestorer` as GFPGAN's code does; lq -> image."""

    def __init__(self, network: PriorRestorer) -> None:
        super().__init__()
        self.network = network

    def forward(self, lq: Tensor) -> Tensor:
        codes, conditions = encode(cast(GFPGANEncoder, self.network.encoder), lq)
        return synthesise(cast(StyleGAN2Generator, self.network.decoder), codes, conditions)


def encode(encoder: Any, lq: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Codes [n,k,w_dim] and (scale, shift) of 8, 16, ... px."""
    x = F.leaky_relu(encoder.first(lq), 0.2)
    skips = []
    for block in encoder.down:
        x = _residual(block, x, 0.5)
        skips.append(x)
    x = F.leaky_relu(encoder.bottom(x), 0.2)
    codes = encoder.to_codes(x.reshape(x.shape[0], -1))
    codes = codes.reshape(x.shape[0], -1, encoder.w_dim).expand(-1, encoder.num_styles, -1)
    conditions = []
    for i, block in enumerate(encoder.up):
        x = _residual(block, x + skips[-1 - i], 2.0)
        conditions.append((encoder.to_scale[i](x), encoder.to_shift[i](x)))
    return codes, conditions


def _residual(block: Any, x: Tensor, scale: float) -> Tensor:
    y = F.leaky_relu(block.conv1(x), 0.2)
    y = F.leaky_relu(block.conv2(_resized(y, scale)), 0.2)
    found: Tensor = y + block.skip(_resized(x, scale))
    return found


def _resized(x: Tensor, scale: float) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def synthesise(decoder: Any, codes: Tensor, conditions: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Codes and conditions to the image [n,3,s,s]."""
    x = decoder.constant.repeat(codes.shape[0], 1, 1, 1)
    x = _styled(decoder.convs[0], x, codes[:, 0], decoder.noise_0)
    image = _to_rgb(decoder.to_rgbs[0], x, codes[:, 1], None)
    for level, (scale, shift) in enumerate(conditions, start=1):
        i = 2 * level - 1
        first, second = getattr(decoder, f"noise_{i}"), getattr(decoder, f"noise_{i + 1}")
        x = _styled(decoder.convs[i], x, codes[:, i], first, enlarge=True)
        if scale.shape[1] == x.shape[1]:
            x = x * scale + shift
        else:
            same, moved = torch.split(x, x.shape[1] - scale.shape[1], dim=1)
            x = torch.cat([same, moved * scale + shift], dim=1)
        x = _styled(decoder.convs[i + 1], x, codes[:, i + 1], second)
        image = _to_rgb(decoder.to_rgbs[level], x, codes[:, i + 2], image)
    return image


def _styled(layer: Any, x: Tensor, code: Tensor, noise: Tensor, enlarge: bool = False) -> Tensor:
    x = _modulated(layer.conv, x, code, demodulate=True, enlarge=enlarge) * math.sqrt(2)
    x = x + layer.noise_strength * noise
    return F.leaky_relu(x + layer.bias[:, None, None], 0.2)


def _to_rgb(layer: Any, x: Tensor, code: Tensor, image: Tensor | None) -> Tensor:
    x = _modulated(layer.conv, x, code, demodulate=False) + layer.bias[:, None, None]
    return x if image is None else x + _resized(image, 2.0)


def _modulated(
    conv: Any, x: Tensor, code: Tensor, demodulate: bool, enlarge: bool = False
) -> Tensor:
    """arXiv 1912.04958, eqs. 1 and 3, with weights [n,o,i,k,k] and the batch as groups."""
    weight = conv.weight[None] * conv.affine(code)[:, None, :, None, None]
    if demodulate:
        weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    if enlarge:
        x = _resized(x, 2.0)
    n, channels, height, width = x.shape
    weight = weight.reshape(-1, channels, *weight.shape[3:])
    x = x.reshape(1, n * channels, height, width)
    x = F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=n)
    return x.reshape(n, -1, height, width)
