"""The networks and statistics that the protocol measures with, found by their names in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from restore.benchmarks.protocol import open_faces
from restore.errors import InputError, MissingExtraError
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_landmark_network,
    load_lpips_heads,
)
from restore.metrics.measure import MeanMetric, Metric
from restore.metrics.niqe import NiqeStatistics, fit_niqe, load_niqe, save_niqe
from restore.metrics.psnr_ssim import to_luma
from restore.metrics.table import METRICS, MetricSuite, MetricTools, build_suite

PROTOCOL_METRICS = ("psnr", "ssim", "lpips", "niqe", "frechet", "identity", "landmarks")

WEIGHT_FILES: Mapping[str, tuple[str, Callable]] = {
    "feature_network": ("squeezenet1_1_features.safetensors", load_feature_network),
    "identity_network": ("mobilefacenet_casia_112x96.safetensors", load_identity_network),
    "landmark_network": ("facemesh_468.pth", load_landmark_network),
}
"""Tool of `MetricTools` -> file in the weights folder, and its loader."""

NIQE_FACES = 300
NIQE_BLOCK_SHARE = 96 / 512


@dataclass(frozen=True)
class ProtocolMetrics:
    """`suites()` builds an empty suite; `names` as the table has them; `left_out`: name -> why."""

    suites: Callable[[], MetricSuite]
    names: tuple[str, ...]
    labels: Mapping[str, str]
    left_out: Mapping[str, str]


def load_metrics(
    names: Sequence[str],
    weights: Path | None,
    niqe: NiqeStatistics | None = None,
    sharpness: bool = False,
) -> ProtocolMetrics:
    """Load what the named metrics stand on.

    Raises `InputError` where a file is missing. NIQE without statistics and LPIPS without the
    `lpips` package are left out with the reason. `sharpness` adds the rows of the fidelity dial.
    """
    unknown = [name for name in names if name not in PROTOCOL_METRICS]
    if unknown:
        raise InputError(f"metrics {unknown}: expected some of {', '.join(PROTOCOL_METRICS)}")
    left_out: dict[str, str] = {}
    needs = {need for name in names for need in METRICS[name].needs}
    tools = MetricTools(niqe_statistics=niqe)
    for tool, (filename, load) in WEIGHT_FILES.items():
        if tool in needs:
            tools = replace(tools, **{tool: load(_file(weights, filename, names, tool))})
    if "lpips_heads" in needs:
        try:
            tools = replace(tools, lpips_heads=load_lpips_heads("squeeze"))
        except MissingExtraError as error:
            left_out["lpips"] = str(error)
    if "niqe" in names and niqe is None:
        left_out["niqe"] = "it needs statistics of good crops: --niqe FILE"
    measured = tuple(n for n in PROTOCOL_METRICS if n in names and n not in left_out)
    base = build_suite(tools, measured)
    metrics: dict[str, Metric] = dict(base.metrics)
    if sharpness:
        metrics |= {
            "gradient": MeanMetric(lambda restored, gt, mask: gradient_energy(restored, mask)),
            "detail": MeanMetric(lambda restored, gt, mask: detail_energy(restored, mask)),
        }
    return ProtocolMetrics(
        lambda: MetricSuite(metrics, base.labels), measured, dict(base.labels), left_out
    )


def niqe_statistics(path: Path, faces: Path, size: int, progress: bool = False) -> NiqeStatistics:
    """Statistics of a file; where it is not there they are fitted on the training crops and kept.

    They are of up to 300 faces of `faces512-train.tar`, or of `faces256-train-0.tar` .. `-3.tar`,
    in the FFHQ frame of that size and within the mask: what the protocol measures.
    """
    if path.is_file():
        statistics = load_niqe(path)
        if statistics.block != round(size * NIQE_BLOCK_SHARE):
            raise InputError(
                f"{path} is of blocks of {statistics.block} px, expected "
                f"{round(size * NIQE_BLOCK_SHARE)} for faces of {size} px; give another file"
            )
        return statistics
    stored = max(size, 256)
    parts = sorted(p.stem.partition("-")[2] for p in faces.glob(f"faces{stored}-train*.tar"))
    if not parts:
        raise InputError(
            f"{path} is not there, and {faces} holds no faces{stored}-train*.tar to fit NIQE's "
            "statistics on; leave --niqe out or give the file"
        )
    sets = [open_faces(faces, size, -(-NIQE_FACES // len(parts)), part) for part in parts]

    def images() -> Iterator[tuple[Tensor, Tensor | None]]:
        total = sum(len(one.names) for one in sets)
        with tqdm(total=total, desc="NIQE statistics", disable=not progress) as bar:
            for one in sets:
                for name in one.names:
                    yield one.framed([name])
                    bar.update()

    source = f"{sum(len(one.names) for one in sets)} faces of faces{stored}-train"
    statistics = fit_niqe(images(), round(size * NIQE_BLOCK_SHARE), source)
    save_niqe(statistics, path)
    return statistics


def gradient_energy(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of neighbours `[n]`, luma in 0..255, both within the mask."""
    luma = to_luma(image)
    inside = torch.ones_like(luma) if mask is None else mask.to(luma)
    total, weight = luma.new_zeros(len(luma)), luma.new_zeros(len(luma))
    for dim in (2, 3):
        length = luma.shape[dim] - 1
        step = luma.diff(dim=dim).square()
        both = inside.narrow(dim, 0, length) * inside.narrow(dim, 1, length)
        total += (step * both).sum((1, 2, 3))
        weight += both.sum((1, 2, 3)) / 2
    return total / weight


def detail_energy(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared Laplacian `[n]` of the luma (0..255), within the mask: the finest detail."""
    luma = to_luma(image)
    kernel = luma.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None] / 4
    energy = F.conv2d(luma, kernel).square()
    if mask is None:
        return energy.mean((1, 2, 3))
    inside = -F.max_pool2d(-mask.to(luma), 3, 1)
    return (energy * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))


def _file(weights: Path | None, filename: str, names: Sequence[str], tool: str) -> Path:
    users = ", ".join(name for name in names if tool in METRICS[name].needs)
    if weights is None:
        raise InputError(
            f"{users} need {filename}: give its folder by --weights, or name the metrics that "
            "need none: --metrics psnr ssim"
        )
    path = weights / filename
    if not path.is_file():
        raise InputError(
            f"{weights} holds no {filename}, which {users} need; add it or use --metrics"
        )
    return path
