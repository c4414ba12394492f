"""Validation of a prior: its faces against real ones, without pairs, and a sheet of samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from restore.data.batches import collate
from restore.data.face_dataset import FaceDataset
from restore.metrics.table import MetricSuite
from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.options.data import FaceDatasetOptions
from restore.training.distributed import Ranks
from restore.training.faces_in_frame import Crops, Framing, place_in_frame
from restore.training.picture_grid import save_grid
from restore.training.sample_draws import SampleDraws
from restore.training.stylegan_step import shrunken_picture
from restore.training.validation import merged_over_ranks, shard


@torch.no_grad()
def validate_prior(
    generator: nn.Module,
    dataset: FaceDataset,
    options: FaceDatasetOptions,
    size: int,
    suites: Callable[[], MetricSuite],
    ranks: Ranks,
    seed: int,
    sheet: Path | None,
    samples: int,
) -> dict[str, float]:
    """Unpaired metrics of as many generated faces as there are real ones; stored noise, fixed z.

    `sheet`: where the first `samples` faces are written, a row of eight at a time.
    """
    draws, suite = SampleDraws(seed), suites()
    framing = Framing(size, options.frame.zoom, options.frame.centre)
    for numbers in shard(len(dataset), options.batch_size_per_gpu, ranks):
        batch = collate([dataset[n] for n in numbers]).to(ranks.device)
        real = place_in_frame(Crops(batch.gt, batch.mask), framing, draws, numbers)
        fake = faces_of(generator, draws, numbers, ranks.device, size)
        suite.update(fake, real.gt)
    if sheet is not None and ranks.first and samples > 0:
        columns = min(8, samples)
        rows = max(1, samples // columns)
        grid = [
            faces_of(generator, draws, list(range(c * rows, (c + 1) * rows)), ranks.device, size)
            for c in range(columns)
        ]
        save_grid(sheet, grid)
    return merged_over_ranks(suite, suites, ranks).result()


def faces_of(
    generator: nn.Module, draws: SampleDraws, numbers: list[int], device: torch.device, size: int
) -> torch.Tensor:
    """Faces [n,3,size,size] of numbered z."""
    z_dim = getattr(generator, "z_dim", generator.w_dim)
    z = draws.normal("val.z", numbers, z_dim).to(device)  # type: ignore[arg-type]
    if isinstance(generator, MobileStyleGAN):
        w_plus = generator.mapping(z)[:, None].expand(-1, generator.num_styles, -1)
        return shrunken_picture(generator, w_plus, size)
    return generator(z)
