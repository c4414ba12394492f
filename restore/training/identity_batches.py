"""Batches of a distillation of identity: drawn, moved, recoloured and worn a little, by the step.

All draws come from (seed, step) alone: a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restore.training.identity_options import IdentityOptions
from restore.training.identity_pool import MARGIN, IdentityPool
from restore.training.identity_split import person_of
from restore.trust.identity import VIEW

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class IdentityBatch:
    """faces [n,3,112,96] in [-1,1], targets [n,d] of length 1, maps [n,c,7,6] of the teacher."""

    faces: Tensor
    targets: Tensor
    maps: Tensor


class IdentityBatches:
    """Batches of a pool by their step."""

    def __init__(self, pool: IdentityPool, options: IdentityOptions) -> None:
        self._pool, self._options = pool, options
        prefixes = [person_of(key).split("_")[0] for key in pool.keys]
        weights = np.array([options.weights.get(prefix, 1.0) for prefix in prefixes])
        self._shares = np.cumsum(weights / weights.sum())

    def batch(self, step: int) -> IdentityBatch:
        """The batch of a step."""
        options, pool = self._options, self._pool
        draws = np.random.default_rng([options.seed, step])
        n, count = options.batch_size, pool.views.shape[1]
        rows = np.searchsorted(self._shares, draws.random(n), side="right")
        rows = np.minimum(rows, len(pool.keys) - 1)
        variants = draws.integers(1, count, n) if count > 1 else np.zeros(n, np.int64)
        variants = np.where(draws.random(n) < options.clean_share, 0, variants)
        flips = draws.random(n) < 0.5
        faces = np.empty((n, *VIEW, 3), np.uint8)
        for i in range(n):
            view = _moved(pool.views[rows[i], variants[i]], draws, bool(flips[i]))
            faces[i] = _worn(view, draws)
        return IdentityBatch(
            _recoloured(faces, draws),
            torch.from_numpy(pool.targets[rows]),
            torch.from_numpy(pool.maps[rows, flips.astype(np.int64)].astype(np.float32)),
        )


def _moved(view: NDArray[np.uint8], draws: np.random.Generator, flip: bool) -> NDArray[np.uint8]:
    """A stored view [128,112,3] as another detector would have aligned it, [112,96,3]."""
    height, width = VIEW
    if flip:
        view = view[:, ::-1]
    turn, grow, x, y = np.clip(draws.standard_normal(4), -2, 2)
    scale, angle = np.exp(0.04 * grow), np.deg2rad(2.5 * turn)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle + MARGIN + 1.2 * np.array([x, y]) - linear @ middle
    return np.asarray(
        cv2.warpAffine(
            np.ascontiguousarray(view),
            np.concatenate([linear, offset[:, None]], 1),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.uint8,
    )


def _worn(face: NDArray[np.uint8], draws: np.random.Generator) -> NDArray[np.uint8]:
    """Sometimes shrunk and enlarged again, sometimes noisy: fresh at every step."""
    chance, size, noise = draws.random(3)
    if chance < 0.25:
        factor = 1 + 3 * size
        small = (max(8, round(VIEW[1] / factor)), max(8, round(VIEW[0] / factor)))
        shrunk = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
        face = np.asarray(cv2.resize(shrunk, VIEW[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    if 0.15 < chance < 0.35:
        grain = draws.standard_normal(face.shape, np.float32) * np.float32(10 * noise)
        face = np.clip(face + grain, 0, 255).astype(np.uint8)
    return face


def _recoloured(faces: NDArray[np.uint8], draws: np.random.Generator) -> Tensor:
    """uint8 [n,h,w,3] -> [n,3,h,w] in [-1,1] with other light; one in eight in gray.

    Saturation, gain and shifts of a face are one matrix [3,3] and one offset for all its pixels.
    """
    n = len(faces)
    spread = np.clip(draws.standard_normal((n, 6)), -2, 2)
    saturation = np.where(draws.random(n) < 0.125, 0, 1 + 0.2 * spread[:, 0])[:, None, None]
    matrix = saturation * np.eye(3) + (1 - saturation) * np.array(_LUMA)[:, None]
    matrix *= (1 + 0.12 * spread[:, 1])[:, None, None]
    offset = 0.1 * spread[:, 2:3] + 0.03 * spread[:, 3:6] - matrix.sum(1)
    pixels = torch.from_numpy(faces).view(n, -1, 3).float()
    mixed = torch.baddbmm(
        torch.from_numpy(offset[:, None]).float(), pixels, torch.from_numpy(matrix / 127.5).float()
    )
    return mixed.clamp_(-1, 1).view(n, *VIEW, 3).permute(0, 3, 1, 2)
