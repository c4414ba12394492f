"""A generated face (nobody's) for tests: `restore latents sample`, seed 116, psi 0.7."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np


@lru_cache(maxsize=8)
def nobody(side: int) -> np.ndarray:
    """RGB uint8 [side,side,3] in the FFHQ frame, averaged down from 1024 px; read-only."""
    face = cv2.imread(str(Path(__file__).with_name("nobody.webp")), cv2.IMREAD_COLOR)[..., ::-1]
    face = np.ascontiguousarray(face)
    if side != len(face):
        face = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    face.setflags(write=False)
    return face


def spoilt(face: np.ndarray, blur: float = 0.0, noise: float = 0.0, jpeg: int = 100) -> np.ndarray:
    """The face blurred (sigma in px), with Gaussian noise (0..255) and JPEG, in this order."""
    out = face if blur == 0 else cv2.GaussianBlur(face, (0, 0), blur)
    if noise:
        grain = np.random.default_rng(0).normal(0, noise, face.shape)
        out = np.clip(np.rint(out + grain), 0, 255).astype(np.uint8)
    if jpeg < 100:
        done = cv2.imencode(".jpg", np.ascontiguousarray(out[..., ::-1]), [1, jpeg])[1]
        out = np.ascontiguousarray(cv2.imdecode(done, 1)[..., ::-1])
    return np.ascontiguousarray(out)
