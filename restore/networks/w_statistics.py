"""Statistics of w over the mapping network: mean, covariance, principal axes."""

from __future__ import annotations

import torch
from torch import Tensor

from restore.networks.mobile_stylegan import MobileStyleGAN


def w_statistics(
    generator: MobileStyleGAN, count: int = 65536, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Mean [w_dim] and covariance [w_dim,w_dim] float32 of w over `count` unit normal z."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        w = torch.cat(
            [
                generator.mapping(torch.randn(4096, generator.w_dim, generator=draws))
                for _ in range(max(1, count // 4096))
            ]
        ).double()
    return w.mean(0).float(), torch.cov(w.T).float()


def principal_axes(covariance: Tensor, rank: int) -> Tensor:
    """The `rank` strongest axes of w [rank,w_dim], each as long as its standard deviation."""
    values, vectors = torch.linalg.eigh(covariance.double())
    axes = (vectors * values.clamp_min(0).sqrt()).T.flip(0)
    return axes[:rank].float()
