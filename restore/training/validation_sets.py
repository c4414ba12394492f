"""Validation sets of an option file: good faces degraded by fixed seeds, or stored pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from restore.data.batches import collate, open_dataset
from restore.data.face_dataset import FaceDataset, PairedDataset
from restore.degradation.degrade import degrade
from restore.degradation.recipe import Mixture
from restore.options.data import FaceDatasetOptions, PairedDatasetOptions
from restore.training.faces_in_frame import Crops, Framing, place_in_frame
from restore.training.sample_draws import SampleDraws
from restore.training.validation import Pair


@dataclass(frozen=True)
class DegradedFaces:
    """Good faces without jitter, each degraded by a seed made of (seed, its number)."""

    dataset: FaceDataset
    framing: Framing
    recipe: Mixture
    seed: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def pairs(self, numbers: Sequence[int]) -> Pair:
        """Degraded pairs."""
        batch = collate([self.dataset[n] for n in numbers]).to(self.device)
        draws = SampleDraws(self.seed)
        faces = place_in_frame(Crops(batch.gt, batch.mask), self.framing, draws, numbers)
        done = degrade(faces.gt, self.recipe, seeds=draws.integers("val.degrade", numbers))
        return Pair(done.lq, done.gt, faces.mask)


@dataclass(frozen=True)
class StoredPairs:
    """Bad and good pictures of a paired data set."""

    dataset: PairedDataset
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def pairs(self, numbers: Sequence[int]) -> Pair:
        """Stored pairs."""
        batch = collate([self.dataset[n] for n in numbers]).to(self.device)
        assert batch.lq is not None
        return Pair(_signed(batch.lq), _signed(batch.gt), batch.mask.float())


def open_validation(
    options: FaceDatasetOptions | PairedDatasetOptions,
    out_size: int,
    recipe: Mixture,
    seed: int,
    device: torch.device,
) -> DegradedFaces | StoredPairs:
    """The set of a validation block."""
    dataset = open_dataset(options, out_size)
    if isinstance(dataset, PairedDataset):
        return StoredPairs(dataset, device)
    assert isinstance(options, FaceDatasetOptions)
    size = options.out_size or out_size
    framing = Framing(size, options.frame.zoom, options.frame.centre)
    return DegradedFaces(dataset, framing, recipe, seed, device)


def _signed(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1
