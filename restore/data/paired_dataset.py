"""PairedDataset: bad and good pictures of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from restore.data.face_dataset import Draw, FaceDataset, FaceSample
from restore.data.stores import Store
from restore.errors import InputError


class PairedDataset:
    """Pairs by number, in the order of the good pictures' keys.

    filename_tmpl: the bad picture's key, `{}` standing for the good one's. A bad picture of another
    size is brought to that of the good one (BasicSR's validation sets have small ones).
    """

    def __init__(
        self,
        lq_store: Store,
        gt_store: Store,
        keys: Sequence[str] | None = None,
        crop_size: int | None = None,
        filename_tmpl: str = "{}",
        num_images: int | None = None,
    ) -> None:
        wanted = tuple(sorted(gt_store.keys) if keys is None else keys)[:num_images]
        self.gt = FaceDataset(gt_store, wanted, crop_size)
        self.lq_store = lq_store
        self.lq_keys = tuple(filename_tmpl.format(key) for key in wanted)
        missing = sorted(set(self.lq_keys) - set(lq_store.keys))
        if missing:
            raise InputError(
                f"{len(missing)} of {len(wanted)} good pictures have no bad one, such as "
                f"{missing[0]!r}; expected the same names in both places (see filename_tmpl)"
            )
        self.keys, self.sources, self.crop_size = self.gt.keys, self.gt.sources, self.gt.crop_size

    def __len__(self) -> int:
        return len(self.gt)

    def __getitem__(self, draw: Draw | int) -> FaceSample:
        """The sample of the good picture, with `lq`."""
        draw = draw if isinstance(draw, Draw) else Draw(int(draw))
        sample = self.gt[draw]
        pixels = self.lq_store.image(self.lq_keys[draw.index])
        size = self.gt.crop_size
        if pixels.shape[0] != pixels.shape[1]:
            h, w = pixels.shape[:2]
            raise InputError(f"picture {self.lq_keys[draw.index]!r} is {w}x{h}; expected a square")
        if pixels.shape[0] != size:
            shrinks = pixels.shape[0] > size
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, (size, size), interpolation=how)
        if draw.flip:
            pixels = pixels[:, ::-1]
        return replace(sample, lq=np.ascontiguousarray(pixels.transpose(2, 0, 1)))
