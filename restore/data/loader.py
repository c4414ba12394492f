"""Batches for training and validation: resumable, sharded over ranks, decoded by workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from restore.config.data_options import FaceDatasetOptions, PairedDatasetOptions
from restore.data.batch import Batch, collate
from restore.data.component_file import read_component_file
from restore.data.device_crops import DeviceCrops, device_crops_fit
from restore.data.face_dataset import Draw, FaceDataset, read_keys, read_sources
from restore.data.paired_dataset import PairedDataset
from restore.data.sampler import SampleOrder, source_balance
from restore.data.stores import open_stores
from restore.errors import InputError

Fetch = Callable[[Iterator[list[Draw]]], Iterator[Batch]]


class BatchStream:
    """This rank's batches, without an end; `next(stream)`.

    `position` counts images of all ranks that were *given out*, so batches that workers fetched
    ahead are drawn again after a resume: the order is the same, whatever the workers.
    """

    def __init__(
        self,
        order: SampleOrder,
        fetch: Fetch,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise InputError(
                f"batch size {batch_size}, rank {rank} of {world_size}; expected at least 1 and a "
                "rank below the number of processes"
            )
        self.order, self.fetch = order, fetch
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.position = 0
        self._running: Iterator[Batch] | None = None

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> Batch:
        if self._running is None:
            self._running = self.fetch(
                self.order.batches(self.position, self.batch_size, self.rank, self.world_size)
            )
        batch = replace(next(self._running), position=self.position)
        self.position += self.batch_size * self.world_size
        return batch

    def state_dict(self) -> dict[str, int]:
        """What a resumed run needs: the same on all ranks."""
        return {"position": self.position, "seed": self.order.seed, "crops": self._num_crops()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on at a saved place. The set and the seed must be those of the saved run."""
        for name, here in (("seed", self.order.seed), ("crops", self._num_crops())):
            if state[name] != here:
                raise InputError(
                    f"the saved run had {name} = {state[name]}, this one has {here}; the order of "
                    "samples cannot go on. Use the same data and manual_seed, or start afresh from "
                    "the saved weights (path.pretrain_network_g)"
                )
        self.close()
        self.position = int(state["position"])

    def close(self) -> None:
        """Stop the workers; the stream can go on after it."""
        self._running = None

    def _num_crops(self) -> int:
        return len(self.order.weights)


def fetch_by_workers(
    dataset: FaceDataset | PairedDataset, num_workers: int, pin_memory: bool = False
) -> Fetch:
    """Batches decoded by worker processes; none for num_workers = 0."""

    def fetch(draws: Iterator[list[Draw]]) -> Iterator[Batch]:
        loader: DataLoader[Any] = DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_sampler=draws,
            num_workers=num_workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            worker_init_fn=_one_thread if num_workers else None,
        )
        return iter(loader)

    return fetch


def open_dataset(
    options: FaceDatasetOptions | PairedDatasetOptions, out_size: int | None = None
) -> FaceDataset | PairedDataset:
    """The dataset of an option block. out_size: px of the network, where the block has none.

    Crops that are to go back into the FFHQ frame on the device (`options.frame`) keep the size in
    which they are stored.
    """
    keys = None if options.meta_info_file is None else read_keys(options.meta_info_file)
    size = options.out_size or out_size
    if isinstance(options, PairedDatasetOptions):
        return PairedDataset(
            open_stores([options.dataroot_lq], options.io_backend.type),
            open_stores([options.dataroot_gt], options.io_backend.type),
            keys,
            size,
            options.filename_tmpl,
            options.num_images,
        )
    store = open_stores(options.roots, options.io_backend.type)
    keys = tuple(sorted(store.keys) if keys is None else keys)[: options.num_images]
    sources = None
    if options.source_csv is not None:
        sources = read_sources(options.source_csv, options.source_column)
    boxes = None
    if options.component_path is not None and options.crop_components:
        boxes = read_component_file(options.component_path, keys, options.eye_enlarge_ratio)
    return FaceDataset(
        store,
        keys,
        size if options.frame.is_plain else None,
        sources,
        options.frame.zoom,
        options.frame.centre,
        options.eye_enlarge_ratio,
        boxes,
    )


def open_training_stream(
    options: FaceDatasetOptions,
    out_size: int,
    device: torch.device | str = "cpu",
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> BatchStream:
    """The endless training batches of an option block; `options.batch_size_per_gpu` each.

    Batches lie on the device where the whole set does (`device_crops`), else on the CPU.
    """
    dataset = open_dataset(options, out_size)
    if not isinstance(dataset, FaceDataset):
        raise InputError("a training set of pairs; expected a FaceDataset, degraded on the device")
    order = SampleOrder(
        source_balance(dataset.sources, options.source_weights),
        seed,
        options.dataset_enlarge_ratio,
        options.use_hflip,
        options.use_shuffle,
    )
    limit, mode = options.device_crops_gb, options.device_crops
    fetch: Fetch
    if mode == "on" or (mode == "auto" and device_crops_fit(dataset, device, limit)):
        threads = max(options.num_worker_per_gpu, 1)
        fetch = DeviceCrops(dataset, device, threads).fetch
    else:
        on_gpu = torch.device(device).type == "cuda"
        fetch = fetch_by_workers(dataset, options.num_worker_per_gpu, on_gpu)
    return BatchStream(order, fetch, options.batch_size_per_gpu, rank, world_size)


def validation_batches(
    dataset: FaceDataset | PairedDataset, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Every crop once, in order, unmirrored: rank r gets crops r, r + world_size, ..."""
    mine = range(rank, len(dataset), world_size)
    for start in range(0, len(mine), batch_size):
        indices = mine[start : start + batch_size]
        batch = collate([dataset[index] for index in indices])
        yield replace(batch, position=indices[0])


def _one_thread(_: int) -> None:
    """Workers decode one crop at a time; more threads in each would fight for the cores."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
