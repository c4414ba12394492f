"""DeviceCrops: a whole set as one uint8 array on the device; a batch is then a lookup."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from restore.data.batch import Batch, collate
from restore.data.face_dataset import Draw, FaceDataset
from restore.data.record import MIRRORED_LANDMARKS, MIRRORED_PARTS


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
