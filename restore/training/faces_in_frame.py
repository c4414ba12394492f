"""Crops of a data set as they are trained on: in the FFHQ frame, jittered, with part boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from restore.data.frame import FrameJitter, frame_boxes, frame_matrices, to_ffhq_frame
from restore.training.sample_draws import SampleDraws


@dataclass(frozen=True)
class Crops:
    """`images` uint8 [n,3,c,c] RGB; `mask` uint8 [n,1,c,c], 1 where they show a photo, or None;
    `boxes` float32 [n,3,4] of the parts in pixels of the crop (NaN: unknown), or None."""

    images: Tensor
    mask: Tensor | None = None
    boxes: Tensor | None = None


class CropSource(Protocol):
    """Where crops come from: place in the run's order -> crop, the same whenever it is asked."""

    def draw(self, places: Sequence[int]) -> Crops:
        """The crops at these places of the order, on the device."""
        ...


@dataclass(frozen=True)
class Framing:
    """How crops get into the frame of `size` px; `jitter` None keeps them where they are."""

    size: int
    zoom: float = 1.0
    centre: tuple[float, float] = (256.0, 256.0)
    jitter: FrameJitter | None = None


@dataclass(frozen=True)
class FramedFaces:
    """`gt` float [n,3,s,s] in [-1,1]; `mask` [n,1,s,s], 0 in the reflected border; `boxes`."""

    gt: Tensor
    mask: Tensor
    boxes: Tensor | None = None


def place_in_frame(
    crops: Crops, framing: Framing, draws: SampleDraws, numbers: Sequence[int]
) -> FramedFaces:
    """Crops of the samples `numbers` in the frame, each by its own draws."""
    size, crop_size = framing.size, crops.images.shape[-1]
    if framing.jitter is None and framing.zoom == 1 and crop_size == size:
        gt = crops.images.float() / 127.5 - 1
        mask = gt.new_ones(len(gt), 1, size, size) if crops.mask is None else crops.mask.to(gt)
        return FramedFaces(gt, mask, crops.boxes)
    matrices = torch.cat([_matrix(framing, crop_size, draws, number) for number in numbers])
    gt, mask = to_ffhq_frame(crops.images, size, matrices=matrices, mask=crops.mask)
    if crops.boxes is None:
        return FramedFaces(gt, mask)
    boxes = frame_boxes(crops.boxes.cpu(), matrices)
    return FramedFaces(gt, mask, boxes.to(crops.images.device, torch.float32))


def _matrix(framing: Framing, crop_size: int, draws: SampleDraws, number: int) -> Tensor:
    generator = None if framing.jitter is None else draws.generator("jitter", number)
    return frame_matrices(
        1, crop_size, framing.size, framing.zoom, framing.centre, framing.jitter, generator
    )


def template_boxes(n: int, size: int) -> Tensor:
    """Boxes [n,3,4] of left eye, right eye and mouth of the FFHQ template at `size` px.

    Centres are those of DESIGN's five points; sides are GFPGAN's 80, 80 and 120 px of 512.
    """
    centres = torch.tensor([[192.98, 239.95], [318.90, 240.19], [257.18, 371.27]])
    half = torch.tensor([[40.0], [40.0], [60.0]])
    boxes = torch.cat([centres - half, centres + half], 1) + 0.5
    return (boxes * (size / 512) - 0.5).expand(n, 3, 4).clone()
