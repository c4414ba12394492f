"""Aligned crops of any zoom put back into the FFHQ frame, in batches and on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.errors import InputError

FFHQ_CENTRE = (256.0, 256.0)
"""Middle of the 512 px frame, in continuous coordinates."""


@dataclass(frozen=True)
class FrameJitter:
    """How far alignment may wander, for each sample by itself.

    scale: standard deviation of log(scale). rotation: standard deviation in degrees. shift:
    standard deviation in px of the 512 px frame, along x and along y. Draws are cut at two
    standard deviations. The defaults are what MTCNN's landmarks differ from YuNet's, robustly.
    """

    scale: float = 0.04
    rotation: float = 2.0
    shift: float = 4.0


def frame_matrices(
    n: int,
    crop_size: int,
    out_size: int,
    zoom: float = 1.2,
    centre: tuple[float, float] = (256.0, 280.0),
    jitter: FrameJitter | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Similarities crop -> frame `[n,2,3]`, float32 on the CPU, in *continuous* coordinates.

    A crop of n pixels that was aligned on the FFHQ template enlarged by `zoom` about `centre`
    (512 px units) lies at p = (c - n/2) S / (zoom n) + centre S / 512 in the frame of S pixels.
    Jitter turns and scales about the middle of the frame, then shifts; it needs a CPU generator.
    """
    scale = out_size / (zoom * crop_size)
    base = torch.tensor(
        [
            [scale, 0.0, centre[0] * out_size / 512 - scale * crop_size / 2],
            [0.0, scale, centre[1] * out_size / 512 - scale * crop_size / 2],
        ]
    ).expand(n, 2, 3)
    if jitter is None:
        return base.clone()
    draws = torch.randn(n, 4, generator=generator).clamp(-2, 2)
    factor = torch.exp(draws[:, 0] * jitter.scale)
    angle = draws[:, 1] * math.radians(jitter.rotation)
    shift = draws[:, 2:] * jitter.shift * out_size / 512
    cos, sin = factor * angle.cos(), factor * angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)  # [n,2,2]
    middle = torch.tensor(FFHQ_CENTRE) * out_size / 512
    linear = turn @ base[:, :, :2]
    moved = (turn @ (base[:, :, 2] - middle)[:, :, None])[:, :, 0] + middle + shift
    return torch.cat([linear, moved[:, :, None]], 2)


def to_ffhq_frame(
    crops: Tensor,
    out_size: int,
    zoom: float = 1.2,
    centre: tuple[float, float] = (256.0, 280.0),
    jitter: FrameJitter | None = None,
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
    matrices: Tensor | None = None,
    mode: str = "bicubic",
) -> tuple[Tensor, Tensor]:
    """Zoomed crops as images of the FFHQ frame: (image [n,3,S,S], mask [n,1,S,S]).

    crops: `[n,3,c,c]` RGB on any device, uint8, or float in [-1,1]; the image is float in [-1,1]
    (uint8 is mapped to it). What lies outside the crop is its reflection. The mask is 1 where the
    image is the photo's, 0 in the border; losses and metrics multiply by it. mask: `[n,1,c,c]`,
    what of the crop itself is valid (uint8 or float, 0 or 1). matrices: those of `frame_matrices`,
    where the caller needs them for landmarks too; zoom, centre, jitter are not read then.
    mode: "bicubic" or "bilinear". Shrinking by more than 1.5 is averaged over finer samples.
    """
    if crops.ndim != 4 or crops.shape[1] != 3 or crops.shape[2] != crops.shape[3]:
        raise InputError(f"crops of shape {tuple(crops.shape)}; expected square [n,3,c,c]")
    if mask is not None and mask.shape != (len(crops), 1, *crops.shape[2:]):
        raise InputError(
            f"mask of shape {tuple(mask.shape)}; expected {(len(crops), 1, *crops.shape[2:])}"
        )
    n, crop_size = len(crops), crops.shape[-1]
    if matrices is None:
        matrices = frame_matrices(n, crop_size, out_size, zoom, centre, jitter, generator)
    float_crops = crops.float() / 127.5 - 1 if crops.dtype == torch.uint8 else crops
    shrink = 1 / float(torch.linalg.det(matrices[:, :, :2].double()).abs().min().sqrt())
    samples = max(math.ceil(shrink - 0.5), 1)
    grid = _source_places(matrices, crop_size, out_size, samples).to(float_crops)
    image = F.grid_sample(
        float_crops, grid, mode=mode, padding_mode="reflection", align_corners=False
    )
    image = image.clamp(-1, 1)  # bicubic overshoots at edges
    # half a pixel of the border already mixes in the reflection
    inside = (grid.abs() <= 1 - 1 / crop_size).all(-1)[:, None].to(image.dtype)
    if mask is not None:
        own = F.grid_sample(mask.to(image), grid, mode="bilinear", align_corners=False)
        inside = inside * (own > 1 - 1e-3).to(image.dtype)
    if samples > 1:
        image = F.avg_pool2d(image, samples)
        inside = (F.avg_pool2d(inside, samples) > 1 - 1e-3).to(image.dtype)
    return image, inside


def frame_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Points `[n,k,2]` of crops in OpenCV pixel coordinates, moved into the frame, likewise."""
    matrices = matrices.to(points)
    moved = (points + 0.5) @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]
    return moved - 0.5


def frame_boxes(boxes: Tensor, matrices: Tensor) -> Tensor:
    """Boxes `[n,k,4]` (x0,y0,x1,y1, OpenCV pixels) moved into the frame: they stay upright and
    take the scale, but do not grow with the turn. Boxes that are not finite stay so."""
    low, high = boxes.split(2, dim=2)
    middle = frame_points((low + high) / 2, matrices)
    scale = torch.linalg.det(matrices[:, :, :2].to(boxes)).abs().sqrt()[:, None, None]
    half = (high - low) / 2 * scale
    return torch.cat([middle - half, middle + half], 2)


def _source_places(matrices: Tensor, crop_size: int, out_size: int, samples: int) -> Tensor:
    """For each fine pixel of the frame its place in the crop, in grid_sample's [-1,1] units."""
    linear = torch.linalg.inv(matrices[:, :, :2].double())
    offset = -(linear @ matrices[:, :, 2:].double())[:, :, 0]
    side = out_size * samples
    steps = ((torch.arange(side, dtype=torch.float64) + 0.5) / samples) * (2 / crop_size)
    # x and y each add a column and a row: no full grid in float64
    along_x = linear[:, None, :, 0] * steps[:, None] + (offset * (2 / crop_size) - 1)[:, None]
    along_y = linear[:, None, :, 1] * steps[:, None]
    found: Tensor = along_x.float()[:, None] + along_y.float()[:, :, None]  # [n,side,side,2]
    return found
