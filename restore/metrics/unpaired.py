"""Metrics that need no pairs: Frechet distance of features, NIQE with our own statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.checkpoints.weights_file import read_tensors, write_tensors
from restore.errors import CheckpointError, InputError
from restore.metrics.paired import to_luma
from restore.model_files import read_header


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


_SHARP = 0.75  # of the sharpest block: which blocks of a good image teach (Mittal 2013, II-C)


@dataclass(frozen=True)
class NiqeStatistics:
    """Mean [36] and covariance [36,36] float64 of good blocks of `block` px; what they are of."""

    mean: Tensor
    covariance: Tensor
    block: int
    source: str


def niqe(image: Tensor, statistics: NiqeStatistics, mask: Tensor | None = None) -> Tensor:
    """NIQE `[n]` of images [n,3,h,w] RGB in [-1,1], lower is more natural.

    Blocks that a mask [n,1,h,w] cuts are left out; NaN where fewer than two blocks remain.
    """
    scores = []
    for index in range(len(image)):
        features, _, inside = _block_features(
            image[index : index + 1], statistics.block, None if mask is None else mask[index, None]
        )
        features = features[inside & torch.isfinite(features).all(1)]
        if len(features) < 2:
            scores.append(torch.tensor(torch.nan, dtype=torch.float64))
            continue
        apart = features.mean(0) - statistics.mean.to(features)
        spread = (torch.cov(features.T) + statistics.covariance.to(features)) / 2
        # Few blocks leave the sum singular: the pseudo-inverse, as the original does.
        scores.append(
            (apart @ torch.linalg.pinv(spread, hermitian=True) @ apart).clamp_min(0).sqrt()
        )
    return torch.stack([s.to(image.device) for s in scores]) if scores else image.new_zeros(0)


def fit_niqe(
    images: Iterable[tuple[Tensor, Tensor | None]], block: int, source: str
) -> NiqeStatistics:
    """Statistics of the sharp blocks of good images: pairs of [1,3,h,w] in [-1,1] and mask or None.

    Raises `InputError` when there are too few blocks for 36 features.
    """
    kept = []
    for image, mask in images:
        features, sharpness, inside = _block_features(image, block, mask)
        usable = inside & torch.isfinite(features).all(1)
        if usable.any():
            kept.append(features[usable & (sharpness > _SHARP * sharpness[usable].max())])
    count = sum(len(k) for k in kept)
    if count < 72:
        raise InputError(
            f"{count} sharp blocks of {block} px found, NIQE needs at least 72; "
            "give more or larger images, or a smaller block"
        )
    features = torch.cat(kept)
    return NiqeStatistics(features.mean(0), torch.cov(features.T), block, source)


def save_niqe(statistics: NiqeStatistics, path: str | Path) -> None:
    """Write statistics as a safetensors file, block and source in its header."""
    tensors = {
        "mean": statistics.mean.contiguous(),
        "covariance": statistics.covariance.contiguous(),
    }
    header = {
        "format": "restore-niqe/1",
        "block": str(statistics.block),
        "source": statistics.source,
    }
    write_tensors(path, tensors, header)


def load_niqe(path: str | Path) -> NiqeStatistics:
    """Statistics that `save_niqe` wrote; raises `CheckpointError` for anything else."""
    header = read_header(path)
    if header.get("format") != "restore-niqe/1":
        raise CheckpointError(
            f"{path} is of format {header.get('format')!r}, expected NIQE statistics; "
            "make them with: python -m benchmarks quality --fit-niqe FOLDER --niqe FILE"
        )
    tensors = read_tensors(path)
    return NiqeStatistics(
        tensors["mean"], tensors["covariance"], int(header["block"]), header["source"]
    )


def _block_features(
    image: Tensor, block: int, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Features [b,36], sharpness [b] and whether inside the mask [b], of whole blocks."""
    rows, columns = image.shape[2] // block, image.shape[3] // block
    if rows * columns < 1:
        raise InputError(
            f"NIQE statistics of {block} px blocks cannot measure an image of "
            f"{image.shape[3]} x {image.shape[2]} px; fit some with a smaller block"
        )
    height, width = rows * block, columns * block
    luma = to_luma(image)[:, :, :height, :width].round()
    parts = []
    sharpness = luma.new_zeros(0)
    for scale in (1, 2):
        normal, deviation = _normalised(luma)
        size = block // scale
        parts.append(_features(normal, size))
        if scale == 1:
            sharpness = F.avg_pool2d(deviation, size).flatten()
            luma = F.interpolate(luma, (height // 2, width // 2), mode="bicubic", antialias=True)
    inside = torch.ones(rows * columns, dtype=torch.bool, device=image.device)
    if mask is not None:
        covered = -F.max_pool2d(-mask[:, :, :height, :width].double(), block)
        inside = covered.flatten() > 0.99
    return torch.cat(parts, dim=1), sharpness, inside


def _normalised(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean-subtracted, contrast-normalised luma and the local deviation (Gaussian 7, 7/6)."""
    places = torch.arange(-3, 4, dtype=luma.dtype, device=luma.device)
    row = torch.exp(-places.square() / (2 * (7 / 6) ** 2))
    window = (torch.outer(row, row) / row.sum() ** 2)[None, None]

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (3, 3, 3, 3), mode="replicate"), window)

    mean = blur(luma)
    deviation = (blur(luma.square()) - mean.square()).abs().sqrt()
    return (luma - mean) / (deviation + 1), deviation


def _features(normal: Tensor, size: int) -> Tensor:
    """The 18 features of each block [b,18]: shape and width of the values, four of each of four
    products with a neighbour (right, below, and the two diagonals)."""
    blocks = F.unfold(normal, size, stride=size)[0].T.reshape(-1, size, size)
    alpha, left, right = _fit_asymmetric(blocks.flatten(1))
    columns = [alpha, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        product = blocks * blocks.roll(shift, dims=(1, 2))
        alpha, left, right = _fit_asymmetric(product.flatten(1))
        gammas = torch.exp(torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha))
        columns += [alpha, (right - left) * gammas, left, right]
    return torch.stack(columns, dim=1)


def _fit_asymmetric(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moment fit of an asymmetric generalised Gaussian [b,k] -> alpha, left, right width [b].

    Lasmar 2009: the ratio E|x|² / E x² picks alpha from a table over 0.2..10. A flat block gives
    NaN.
    """
    below = torch.where(values < 0, values.square(), 0).sum(1) / (values < 0).sum(1)
    above = torch.where(values > 0, values.square(), 0).sum(1) / (values > 0).sum(1)
    left, right = below.sqrt(), above.sqrt()
    skew = left / right
    ratio = values.abs().mean(1).square() / values.square().mean(1)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew.square() + 1).square()
    alphas = torch.arange(0.2, 10.001, 0.001, dtype=values.dtype, device=values.device)
    table = torch.exp(
        2 * torch.lgamma(2 / alphas) - torch.lgamma(1 / alphas) - torch.lgamma(3 / alphas)
    )
    # The table rises with alpha; the nearer of the two neighbours.
    after = torch.searchsorted(table, ratio.contiguous()).clamp(1, len(table) - 1)
    nearer = (table[after] - ratio).abs() < (table[after - 1] - ratio).abs()
    alpha = alphas[torch.where(nearer, after, after - 1)]
    alpha = torch.where(torch.isfinite(ratio), alpha, torch.nan)
    widths = torch.exp((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2)
    return alpha, left * widths, right * widths
