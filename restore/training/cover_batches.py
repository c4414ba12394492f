"""Batches for the cover network: faces with things painted before them, then worn as photos are.

All draws come from (seed, step) alone: a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from restore.data.stores import open_store
from restore.degradation.covers import paint_cover
from restore.degradation.degrade import degrade
from restore.errors import InputError
from restore.faces.align import warp
from restore.geometry import ffhq_template, similarity
from restore.trust.occlusion import CELLS, SIDE, VIEW_POINTS

SQUARE = 160
"""px of the square that is painted and degraded, at twice the view's scale, with room to move."""
SQUARE_POINTS = (VIEW_POINTS + 0.5) * 2 - 0.5 + (SQUARE - 2 * SIDE) / 2
RECIPE = "restore_default"
LUMA = np.array((0.299, 0.587, 0.114), np.float32)


@dataclass(frozen=True)
class CoverBatch:
    """faces [n,3,64,64] RGB in [-1,1]; covered [n,1,16,16]: the hidden share of each cell."""

    faces: Tensor
    covered: Tensor


def read_squares(stores: Sequence[Path], every: int = 1) -> NDArray[np.uint8]:
    """Squares [k,160,160,3] of crops on the template zoomed 1.2 (`restore.data.prepare`)."""
    squares = []
    for path in stores:
        store = open_store(path)
        for key in tqdm(sorted(store.keys)[::every], desc=path.name, disable=None):
            crop = store.image(key)
            points = ffhq_template(crop.shape[0], 1.2, (256.0, 280.0))
            squares.append(warp(crop, similarity(points, SQUARE_POINTS), SQUARE, SQUARE))
    if not squares:
        raise InputError(f"no crops in {', '.join(str(p) for p in stores) or 'no store'}")
    return np.asarray(np.stack(squares), np.uint8)


class CoverBatches:
    """Batches by their step, of the squares of `read_squares`; two faces of three get a cover."""

    def __init__(self, squares: NDArray[np.uint8], size: int, seed: int = 0) -> None:
        self._squares, self._size, self._seed = squares, size, seed

    def batch(self, step: int) -> CoverBatch:
        """The batch of a step."""
        random = np.random.default_rng([self._seed, step])
        faces, masks = [], []
        for row in random.integers(0, len(self._squares), self._size):
            face = self._squares[row]
            mask = np.zeros((SQUARE, SQUARE), np.float32)
            if random.random() < 2 / 3:
                others = self._squares[random.integers(0, len(self._squares), 2)]
                face, mask = paint_cover(face, SQUARE_POINTS, others, random)
            faces.append(face)
            masks.append(mask)
        worn = _degraded(np.stack(faces), random)
        moved = [
            _moved(face, mask, random) for face, mask in zip(worn, np.stack(masks), strict=True)
        ]
        return CoverBatch(
            _recoloured(np.stack([face for face, _ in moved]), random),
            torch.from_numpy(np.stack([mask for _, mask in moved])[:, None]),
        )


def _degraded(faces: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Three of four worn by `RECIPE`, the others as they are."""
    worn = random.random(len(faces)) < 0.75
    if not worn.any():
        return faces
    images = torch.from_numpy(faces[worn]).permute(0, 3, 1, 2).float() / 127.5 - 1
    seeds = [int(v) for v in random.integers(0, 2**31, int(worn.sum()))]
    lq = degrade(images, RECIPE, seeds=seeds).lq
    result = faces.copy()
    pixels = ((lq + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    result[worn] = pixels.permute(0, 2, 3, 1).numpy()
    return result


def _moved(
    face: NDArray[np.uint8], mask: NDArray[np.float32], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The view [64,64,3] as another detector would have aligned it, and the mask's [16,16]."""
    turn, grow, x, y = np.clip(random.standard_normal(4), -2, 2)
    scale, angle = 2 * np.exp(0.05 * grow), np.deg2rad(4 * turn)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (2 * SIDE - 1) / 2) / 2
    offset = np.full(2, (SQUARE - 1) / 2) + 3 * np.array([x, y]) - linear @ middle
    # two samples along each side of a view's pixel, averaged: nothing of the square is passed over
    fine = np.concatenate([linear / 2, (offset - linear @ np.full(2, 0.25))[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (2 * SIDE, 2 * SIDE)
    large = cv2.warpAffine(face, fine, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    hidden = cv2.warpAffine(mask, fine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    view = cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    cells = cv2.resize(hidden, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    if random.random() < 0.5:
        view, cells = view[:, ::-1], cells[:, ::-1]
    return np.asarray(view, np.uint8), np.asarray(cells, np.float32)


def _recoloured(faces: NDArray[np.uint8], random: np.random.Generator) -> Tensor:
    """uint8 [n,64,64,3] -> [n,3,64,64] in [-1,1] with other light; one in four in gray."""
    n = len(faces)
    pixels = faces.astype(np.float32)
    saturation = np.where(random.random(n) < 0.25, 0, 1 + 0.25 * random.standard_normal(n))
    gray = (pixels @ LUMA)[..., None]
    pixels = gray + saturation[:, None, None, None] * (pixels - gray)
    gain = np.exp(0.2 * random.standard_normal((n, 1, 1, 1)))
    tint = 0.04 * random.standard_normal((n, 1, 1, 3))
    shift = 0.1 * random.standard_normal((n, 1, 1, 1))
    values = (pixels / 127.5 - 1) * gain + shift + tint
    return torch.from_numpy(np.clip(values, -1, 1).transpose(0, 3, 1, 2).astype(np.float32))
