"""Crops by their place in the run's order: kept on the device, or decoded ahead by threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from restore.data.batches import (
    Batch,
    DeviceCrops,
    SampleOrder,
    collate,
    device_crops_fit,
    open_dataset,
    source_balance,
)
from restore.data.face_dataset import Draw, FaceDataset, FaceSample
from restore.data.frame import FrameJitter
from restore.errors import InputError
from restore.options.data import FaceDatasetOptions
from restore.options.schema import Options
from restore.training.faces_in_frame import Crops, Framing


class OrderedCrops:
    """The crops of a data set in the endless order of `order`: place p is always the same crop.

    `held` has the whole set on the device; without it threads decode the places that the next
    call will ask for, guessed from the stride of the last two.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        order: SampleOrder,
        device: torch.device,
        held: DeviceCrops | None = None,
        workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.order = order
        self.device = device
        self.held = held
        self._pool = ThreadPoolExecutor(workers) if workers and held is None else None
        self._ahead: dict[int, Future[FaceSample]] = {}
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._last = 0

    def draw(self, places: Sequence[int]) -> Crops:
        """The crops at these places, on the device."""
        batch = self._batch(places).to(self.device)
        return Crops(batch.gt, batch.mask, batch.parts)

    def draw_of(self, place: int) -> Draw:
        """Which crop lies at a place, and whether mirrored."""
        number, offset = divmod(place, self.order.num_draws)
        if number not in self._epochs:
            # the epoch at hand and its neighbour: batches may reach over the edge
            kept = {k: v for k, v in self._epochs.items() if abs(k - number) <= 1}
            self._epochs = {**kept, number: self.order.epoch(number)}
        indices, flips = self._epochs[number]
        return Draw(int(indices[offset]), bool(flips[offset]))

    def _batch(self, places: Sequence[int]) -> Batch:
        if self.held is not None:
            return self.held.batch([self.draw_of(place) for place in places])
        if self._pool is None:
            return collate([self.dataset[self.draw_of(place)] for place in places])
        wanted = [self._submit(place) for place in places]
        stride = places[0] - self._last
        self._last = places[0]
        self._ahead = {k: f for k, f in self._ahead.items() if k > places[-1]}
        if 0 < stride <= 100_000:
            for place in places:
                self._ahead[place + stride] = self._submit(place + stride)
        return collate([future.result() for future in wanted])

    def _submit(self, place: int) -> Future[FaceSample]:
        assert self._pool is not None
        if place in self._ahead:
            return self._ahead[place]
        return self._pool.submit(self.dataset.__getitem__, self.draw_of(place))


def train_set_of(options: Options) -> FaceDatasetOptions:
    """The block datasets.train, which the schema holds to be a set of good faces."""
    block = options.train_set
    assert isinstance(block, FaceDatasetOptions)
    return block


def framing_of(options: FaceDatasetOptions, size: int) -> Framing:
    """How the crops of a training set get into the frame."""
    frame = options.frame
    jitter = None
    if frame.jitter_scale or frame.jitter_rotation or frame.jitter_shift:
        jitter = FrameJitter(frame.jitter_scale, frame.jitter_rotation, frame.jitter_shift)
    return Framing(options.out_size or size, frame.zoom, frame.centre, jitter)


def open_crops(
    options: FaceDatasetOptions, out_size: int, device: torch.device, seed: int
) -> OrderedCrops:
    """The training crops of an option block."""
    dataset = open_dataset(options, out_size)
    if not isinstance(dataset, FaceDataset):
        raise InputError("datasets.train is a set of pairs; expected a FaceDataset")
    order = SampleOrder(
        source_balance(dataset.sources, options.source_weights),
        seed,
        options.dataset_enlarge_ratio,
        options.use_hflip,
        options.use_shuffle,
    )
    fits = options.device_crops == "auto" and device_crops_fit(
        dataset, device, options.device_crops_gb
    )
    held = None
    if options.device_crops == "on" or fits:
        held = DeviceCrops(dataset, device, max(1, options.num_worker_per_gpu))
    return OrderedCrops(dataset, order, device, held, options.num_worker_per_gpu)
