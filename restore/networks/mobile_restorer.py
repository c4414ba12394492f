"""The default architecture: degradation-aware U-Net on a frozen MobileStyleGAN."""

from __future__ import annotations

from collections.abc import Sequence

from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.networks.prior_restorer import PriorRestorer
from restore.networks.unet_encoder import DegradationAwareEncoder


def build_mobile_restorer(
    crop_size: int = 512,
    trunk_size: int = 128,
    trunk_channels: Sequence[int] = (32, 64, 128, 256, 256, 256),
    condition_levels: Sequence[int] = (8, 16, 32, 64, 128, 256),
    code_rank: int = 256,
    prior_channels: Sequence[int] = (512, 512, 512, 512, 512, 256, 128, 64),
    w_dim: int = 512,
    num_mapping: int = 8,
    head_sizes: Sequence[int] = (256, 512),
) -> PriorRestorer:
    """A restorer of [n,3,crop_size,crop_size] crops; half of the channels of each level listed in
    `condition_levels` (in pixels) are transformed. Weights are random until loaded."""
    decoder = MobileStyleGAN(prior_channels, w_dim, num_mapping, head_sizes)
    encoder = DegradationAwareEncoder(
        crop_size,
        decoder.num_styles,
        w_dim,
        {level: decoder.channels[level] // 2 for level in condition_levels},
        trunk_size,
        trunk_channels,
        code_rank,
    )
    return PriorRestorer(encoder, decoder)
