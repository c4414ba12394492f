"""Frechet distance between two sets of images on a named feature network, streaming."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class FrechetMetric:
    """Distance of Gaussians fitted to the spatial means of the network's last activation.

    The formula is FID's (Heusel 2017, eq. 6), the network is not: values compare only within one
    network, one size and one number of images. The state holds count, sum and sum of outer
    products of both sides, so it adds up over batches and ranks. The sides need no pairs: an
    empty batch [0,3,h,w] adds nothing.
    """

    network: nn.Module

    @property
    def width(self) -> int:
        return int(self.network.channels[-1])  # type: ignore[index]

    def measure(self, restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        return torch.cat([self._moments(x, mask) for x in (restored, gt)])

    def finish(self, state: Tensor) -> float:
        first, second = state.chunk(2)
        if min(first[0], second[0]) < 2:
            return float("nan")
        mean_a, cov_a = self._gaussian(first)
        mean_b, cov_b = self._gaussian(second)
        return frechet_distance(mean_a, cov_a, mean_b, cov_b)

    def _moments(self, images: Tensor, mask: Tensor | None) -> Tensor:
        if len(images) == 0:
            return torch.zeros(1 + self.width + self.width**2, dtype=torch.float64)
        with torch.no_grad():
            features = self.network(images)[-1].double()
        weights = torch.ones_like(features[:, :1])
        if mask is not None:
            weights = F.adaptive_avg_pool2d(mask.double(), (features.shape[2], features.shape[3]))
        pooled = (features * weights).sum((2, 3)) / weights.sum((2, 3)).clamp_min(1e-9)
        count = pooled.new_tensor([len(pooled)])
        return torch.cat((count, pooled.sum(0), (pooled.T @ pooled).flatten())).cpu()

    def _gaussian(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        count, width = moments[0], self.width
        mean = moments[1 : 1 + width] / count
        outer = moments[1 + width :].reshape(width, width)
        return mean, (outer - count * torch.outer(mean, mean)) / (count - 1)


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), for float64 means [d] and covariances [d,d].

    (C1 C2)^½ has the trace of (C1^½ C2 C1^½)^½, a symmetric matrix: eigh serves, also for
    singular covariances of few images, where a general matrix square root turns complex.
    """
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(0.0, float(distance))
