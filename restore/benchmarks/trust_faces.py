"""Faces for the measurements of trust: degraded crops as the pipeline gets them, and its looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from restore.benchmarks.protocol import batches, open_faces
from restore.geometry import ffhq_template
from restore.pipeline.options import Fidelity, TrustOptions
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredFace


@dataclass(frozen=True, eq=False)
class JudgedFaces:
    """Crops of one recipe, uint8 RGB [n,s,s,3], and what the pipeline said of each."""

    lq: np.ndarray
    gt: np.ndarray
    mask: Tensor
    faces: tuple[RestoredFace, ...]

    def share(self, status: str) -> float:
        """Share of the faces with that status."""
        return sum(face.status == status for face in self.faces) / max(len(self.faces), 1)

    def psnr(self, status: str) -> list[float]:
        """dB between input and truth of the faces with that status, inside the mask; at most 60."""
        found = []
        for lq, gt, mask, face in zip(self.lq, self.gt, self.mask, self.faces, strict=True):
            if face.status == status:
                inside = mask[0].numpy() > 0.5
                error = float(np.mean(np.square(lq[inside].astype(float) - gt[inside])))
                found.append(min(10 * float(np.log10(255**2 / max(error, 1e-9))), 60.0))
        return found


def uint8_crops(images: Tensor) -> np.ndarray:
    """[n,3,s,s] in [-1,1] -> uint8 RGB [n,s,s,3]."""
    pixels = (images.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def judge_recipe(
    restorer: Restorer,
    folder: Path,
    size: int,
    count: int,
    recipe: str,
    trust: TrustOptions | None = None,
    fidelity: Fidelity = None,
    without: int = 0,
) -> JudgedFaces:
    """Degrade held-out faces (in the FFHQ frame) and restore each as an aligned crop.

    `count` and `without` choose them, as `open_faces` says.
    """
    lq, gt, masks, faces = [], [], [], []
    for batch in batches(open_faces(folder, size, count, without=without), recipe, 4):
        crops = uint8_crops(batch.lq)
        lq.append(crops)
        gt.append(uint8_crops(batch.gt))
        masks.append(batch.mask)
        for crop in crops:
            result = restorer.restore(crop, aligned=True, trust=trust, fidelity=fidelity)
            faces.append(result.faces[0])
    return JudgedFaces(np.concatenate(lq), np.concatenate(gt), torch.cat(masks), tuple(faces))


def resized_faces(
    restorer: Restorer,
    folder: Path,
    size: int,
    count: int,
    eyes: float,
    trust: TrustOptions | None = None,
    spoil: Callable[[np.ndarray], np.ndarray] | None = None,
) -> JudgedFaces:
    """Held-out faces averaged down to that many px between the eyes, then restored.

    spoil: what is done to the small photo, uint8 RGB, first.
    """
    template = ffhq_template(size)
    side = max(round(size * eyes / float(np.linalg.norm(template[1] - template[0]))), 4)
    lq, gt, masks, faces = [], [], [], []
    for batch in batches(open_faces(folder, size, count), "none", 4):
        for crop in uint8_crops(batch.gt):
            small = np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
            small = small if spoil is None else spoil(small)
            faces.append(restorer.restore(small, aligned=True, trust=trust).faces[0])
            lq.append(small)
            gt.append(crop)
        masks.append(batch.mask)
    return JudgedFaces(np.stack(lq), np.stack(gt), torch.cat(masks), tuple(faces))
