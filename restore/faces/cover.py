"""How much of a face is covered: pixels that no mixture of ordinary faces explains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.faces.warp import matrix_scale, warp
from restore.geometry.similarity import similarity
from restore.geometry.template import ffhq_template

PACKAGED = Path(__file__).parents[1] / "weights" / "cover.safetensors"
SIDE = 32
"""px of the thumbnail: at this size a blurred face looks like a sharp one."""
VIEW = ffhq_template(SIDE, 1.5, (256.0, 285.0))
"""[5,2], where the landmarks lie in it: the face without the hair."""
INSIDE = (
    np.hypot(*np.meshgrid((np.arange(SIDE) - 15.5) / 14.0, (np.arange(SIDE) - 15.5) / 16.5)) < 1
)
"""[SIDE,SIDE] bool: the pixels that are looked at; in the order of the fitted file."""

_SOFT = 0.35  # residual at which a pixel's weight in the fit has halved
_COVERED = 0.55  # mean residual around a pixel from which it counts as covered; unit: mean |luma|
_LARGEST = 2.0  # residuals are cut here: a highlight is no cover
_AROUND = 4.0  # px, sigma of that mean: a hand or dark glasses are broad, an eyebrow is not
_ROUNDS = 6


@dataclass(frozen=True, eq=False)
class FaceSpace:
    """Mean [m] and principal components [k,m] of `face_vector`s, m pixels of INSIDE; float32.

    After Turk and Pentland, "Eigenfaces for recognition", 1991: distance from face space, but
    pixel by pixel and fitted robustly, so that what covers a face does not bend the fit.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    def residual(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """[m], absolute difference to the best mixture, by iteratively reweighted least squares."""
        target = vector - self.mean
        rest = np.ones_like(target)
        weight = np.ones_like(target)
        for _ in range(_ROUNDS):
            weighted = self.components * weight
            # k is small: the normal equations, slightly damped, are quick and stable enough.
            system = weighted @ self.components.T + 1e-4 * np.eye(len(self.components))
            mixture = np.linalg.solve(system, weighted @ target)
            rest = np.abs(target - mixture @ self.components)
            weight = 1 / (1 + (rest / _SOFT) ** 2)
        return np.asarray(rest, np.float32)

    def covered(self, crop: NDArray[np.uint8], template: NDArray[np.floating]) -> float:
        """Share in [0,1] of the face in an aligned crop [s,s,3] that seems to be covered."""
        rest = np.zeros((SIDE, SIDE), np.float32)
        rest[INSIDE] = np.minimum(self.residual(face_vector(crop, template)), _LARGEST)
        near = cv2.GaussianBlur(rest, (0, 0), _AROUND)
        seen = cv2.GaussianBlur(INSIDE.astype(np.float32), (0, 0), _AROUND)
        around = near[INSIDE] / np.maximum(seen[INSIDE], 0.2)
        return float((around > _COVERED).mean())


def face_vector(crop: NDArray[np.uint8], template: NDArray[np.floating]) -> NDArray[np.float32]:
    """[m] float32: the luma of an aligned RGB crop within INSIDE, free of light and contrast."""
    matrix = similarity(template, VIEW)
    luma = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    shrink = 1 / matrix_scale(matrix)
    if shrink > 4:  # a large crop is halved first: the warp reads each pixel of what it is given
        half = cv2.resize(luma, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        points = (np.asarray(template) + 0.5) / 4 - 0.5
        luma, matrix = half, similarity(points, VIEW)
    thumbnail = warp(np.asarray(luma, np.float32) / 255, matrix, SIDE, SIDE)
    vector = thumbnail[INSIDE] - np.median(thumbnail[INSIDE])
    return np.asarray(vector / (np.abs(vector).mean() + 0.03), np.float32)


@lru_cache(maxsize=1)
def load_face_space(path: Path = PACKAGED) -> FaceSpace | None:
    """The packaged face space, read once; None where the file is not there."""
    if not path.is_file():
        return None
    from safetensors.numpy import load_file

    tensors = load_file(path)
    return FaceSpace(tensors["mean"].astype(np.float32), tensors["components"].astype(np.float32))
