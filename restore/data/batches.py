"""From sets to batches on the device: order of the draws, loading, crops kept on the device."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restore.data.face_dataset import (
    MIRRORED_LANDMARKS,
    MIRRORED_PARTS,
    Draw,
    FaceDataset,
    FaceSample,
    PairedDataset,
    read_component_file,
    read_keys,
    read_sources,
)
from restore.data.stores import open_stores
from restore.errors import InputError
from restore.options.data import FaceDatasetOptions, PairedDatasetOptions


@dataclass(frozen=True, eq=False)
class Batch:
    """n crops. gt: uint8 RGB [n,3,s,s]; mask: uint8 [n,1,s,s], 1 where the photo is;
    landmarks [n,5,2] and parts [n,3,4] float32, OpenCV pixels of gt; indices [n] int64;
    lq: uint8 RGB [n,3,s,s] of pairs, else None. position: place of the *global* batch's first crop
    in the sampler's order: with the seed it fixes all that is random in this step.
    """

    gt: Tensor
    mask: Tensor
    landmarks: Tensor
    parts: Tensor
    indices: Tensor
    keys: tuple[str, ...]
    sources: tuple[str, ...]
    position: int = 0
    lq: Tensor | None = None

    def __len__(self) -> int:
        return len(self.gt)

    def to(self, device: torch.device | str) -> Batch:
        """On a device; copies from pinned memory do not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """In pinned memory; loaders call it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            k: change(v) if isinstance(v, Tensor) else v for k, v in values.items()
        }
        return Batch(**moved)


def collate(samples: Sequence[FaceSample]) -> Batch:
    """Samples of one size as a batch."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))

    return Batch(
        gt=stacked("gt"),
        mask=stacked("mask"),
        landmarks=stacked("landmarks"),
        parts=stacked("parts"),
        indices=torch.tensor([sample.index for sample in samples]),
        keys=tuple(sample.key for sample in samples),
        sources=tuple(sample.source for sample in samples),
        lq=None if samples[0].lq is None else stacked("lq"),
    )


class SampleOrder:
    """An endless sequence of draws; draw p of it depends on (seed, p) alone.

    It is made of epochs of `num_draws` draws. In each, every crop is drawn its share of times,
    rounded up or down at random (systematic resampling, so that sources get their share exactly to
    one draw), in shuffled order. With equal weights and num_draws = n each crop comes once.
    """

    def __init__(
        self,
        weights: Sequence[float] | np.ndarray,
        seed: int = 0,
        enlarge_ratio: float = 1.0,
        flip: bool = False,
        shuffle: bool = True,
    ) -> None:
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not len(self.weights):
            raise InputError(f"weights of shape {self.weights.shape}; expected one for each crop")
        if not np.isfinite(self.weights).all() or self.weights.min() < 0 or not self.weights.sum():
            raise InputError("weights of crops must be numbers of at least 0, and not all 0")
        self.seed = seed
        self.flip = flip
        self.shuffle = shuffle
        self.num_draws = max(round(np.count_nonzero(self.weights) * enlarge_ratio), 1)

    def epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices [num_draws] int64 and mirrorings [num_draws] bool of one epoch."""
        rng = np.random.default_rng([self.seed, number])
        # crops in random order first: the rounding must not favour neighbours
        mixed = rng.permutation(len(self.weights)) if self.shuffle else np.arange(len(self.weights))
        edges = np.cumsum(self.weights[mixed])
        places = (np.arange(self.num_draws) + rng.random()) * (edges[-1] / self.num_draws)
        rows = np.minimum(np.searchsorted(edges, places, side="right"), self._last(mixed))
        indices = mixed[rows]
        if self.shuffle:
            indices = rng.permutation(indices)
        flips = rng.random(self.num_draws) < 0.5 if self.flip else np.zeros(self.num_draws, bool)
        return indices.astype(np.int64), flips

    def _last(self, mixed: np.ndarray) -> int:
        """Row of the last crop that may be drawn, for places that round up to the very end."""
        return int(np.flatnonzero(self.weights[mixed])[-1])

    def draws(self, start: int) -> Iterator[Draw]:
        """The sequence from place `start` on, without an end."""
        number, offset = divmod(start, self.num_draws)
        while True:
            indices, flips = self.epoch(number)
            for place in range(offset, self.num_draws):
                yield Draw(int(indices[place]), bool(flips[place]))
            number, offset = number + 1, 0

    def batches(
        self, start: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[list[Draw]]:
        """This rank's share of each global batch of batch_size * world_size draws, from `start`.

        Ranks take consecutive parts, so that two of them draw what one draws at twice the batch.
        """
        draws = self.draws(start)
        while True:
            together = [next(draws) for _ in range(batch_size * world_size)]
            yield together[rank * batch_size : (rank + 1) * batch_size]


def source_balance(sources: Sequence[str], weights: Mapping[str, float]) -> np.ndarray:
    """Weight of each crop [n] from that of its source, 1 for sources that are not named.

    Raises InputError for a named source that no crop has: a misspelt one would do nothing.
    """
    counts = Counter(sources)
    unknown = [name for name in weights if name not in counts]
    if unknown:
        raise InputError(
            f"source_weights names {', '.join(map(repr, unknown))}, which no crop has; "
            f"expected some of {', '.join(sorted(counts))}"
        )
    return np.array([float(weights.get(source, 1.0)) for source in sources])


class DeviceCrops:
    """All crops of a dataset, gt uint8 [N,3,s,s], with landmarks, boxes and masks.

    Masks are kept only where a crop has an invalid place. The same draws give the same batches as
    the dataset itself.
    """

    def __init__(
        self, dataset: FaceDataset, device: torch.device | str = "cpu", threads: int = 2
    ) -> None:
        n, size = len(dataset), dataset.crop_size
        self.device = torch.device(device)
        self.keys, self.sources = dataset.keys, dataset.sources
        self.gt = torch.empty(n, 3, size, size, dtype=torch.uint8, device=self.device)
        landmarks, parts = torch.empty(n, 5, 2), torch.empty(n, 3, 4)
        partial: dict[int, Tensor] = {}
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            # in chunks: decoding must not run ahead of the copies and fill the memory
            for start in range(0, n, 256):
                stop = min(start + 256, n)
                chunk = collate(list(pool.map(dataset.__getitem__, range(start, stop))))
                self.gt[start:stop] = chunk.gt.to(self.device)
                landmarks[start:stop], parts[start:stop] = chunk.landmarks, chunk.parts
                for row in (chunk.mask.flatten(1).amin(1) == 0).nonzero().flatten().tolist():
                    partial[start + row] = chunk.mask[row]
        self.landmarks, self.parts = landmarks.to(self.device), parts.to(self.device)
        # row of each crop's mask; row 0 is the whole square
        self._mask_rows = torch.zeros(n, dtype=torch.int64)
        for row, index in enumerate(partial, 1):
            self._mask_rows[index] = row
        masks = [torch.ones(1, size, size, dtype=torch.uint8), *partial.values()]
        self._masks = torch.stack(masks).to(self.device)
        self._mask_rows = self._mask_rows.to(self.device)

    def __len__(self) -> int:
        return len(self.gt)

    def batch(self, draws: Sequence[Draw]) -> Batch:
        """The crops of some draws, on the device, as tensors of their own."""
        places = [draw.index for draw in draws]
        indices = torch.tensor(places, device=self.device)
        flips = torch.tensor([draw.flip for draw in draws], device=self.device)
        gt, mask = self.gt[indices], self._masks[self._mask_rows[indices]]
        landmarks, parts = self.landmarks[indices], self.parts[indices]
        if any(draw.flip for draw in draws):
            across = flips[:, None, None, None]
            gt = torch.where(across, gt.flip(3), gt)
            mask = torch.where(across, mask.flip(3), mask)
            last = gt.shape[3] - 1
            mirrored = landmarks[:, list(MIRRORED_LANDMARKS)].clone()
            mirrored[:, :, 0] = last - mirrored[:, :, 0]
            landmarks = torch.where(flips[:, None, None], mirrored, landmarks)
            boxes = parts[:, list(MIRRORED_PARTS)].clone()
            boxes[:, :, [0, 2]] = last - boxes[:, :, [2, 0]]
            parts = torch.where(flips[:, None, None], boxes, parts)
        return Batch(
            gt=gt,
            mask=mask,
            landmarks=landmarks,
            parts=parts,
            indices=indices.cpu(),
            keys=tuple(self.keys[i] for i in places),
            sources=tuple(self.sources[i] for i in places),
        )


def device_crops_fit(dataset: FaceDataset, device: torch.device | str, limit_gb: float) -> bool:
    """Whether the set takes at most limit_gb and half of the memory that is free there."""
    needed = len(dataset) * 3 * dataset.crop_size**2
    device = torch.device(device)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        free = 4 << 30
    return needed <= min(limit_gb * (1 << 30), free / 2)


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
