"""A network that paints another face into each crop, and what measures the result."""

from __future__ import annotations

import cv2
import numpy as np

from restore.faces.align import face_mask
from restore.geometry import ffhq_template
from restore.pipeline.guard import mixed
from restore.pipeline.restorer import Restorer
from tests.faces.nobody import nobody
from tests.pipeline.fakes import FixedDetector, face_at

CLEAN = (-2.0, 0.1, 0.05, 0.05, 0.0, 0.0)
BAD = (1.0, 2.0, 0.3, 0.5, 0.0, 0.0)
HOPELESS = (2.8, 4.0, 0.3, 0.5, 0.0, 0.0)


class Painter:
    """A network that mixes another face into each crop; fidelity says how much of the crop."""

    name = "painter"

    def __init__(self, size=128, estimate=BAD, other=None, dial=True):
        self.crop_size, self.template, self.estimate = size, ffhq_template(size), estimate
        self.other = 255 - nobody(size)[::-1] if other is None else other
        self.supports_fidelity, self.asked = dial, []

    def run(self, crops, fidelity):
        dial = np.broadcast_to(np.asarray(fidelity, np.float32), len(crops))
        self.asked += dial.tolist()
        painted = [mixed(self.other, crop, 0.4 * f) for crop, f in zip(crops, dial, strict=True)]
        return np.stack(painted), np.tile(np.array(self.estimate, np.float32), (len(crops), 1))


class Thumbnails:
    """Identity by a gray thumbnail: enough to tell an upside-down negative from a face."""

    name = "thumbnails"

    def embed(self, crops):
        small = [cv2.resize(c, (12, 12), interpolation=cv2.INTER_AREA).mean(2) for c in crops]
        flat = np.stack(small).reshape(len(small), -1).astype(np.float32)
        flat -= flat.mean(1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def restorer_for(side, **kwargs):
    """A restorer whose detector knows the face of `nobody(side)`."""
    return Restorer(
        Painter(**kwargs), FixedDetector(face_at(side / 2, side / 2, side)), identity=Thumbnails()
    )


def psnr(a, b, where):
    error = (a.astype(float) - b)[where] ** 2
    return 10 * np.log10(255**2 / max(error.mean(), 1e-9))


def face_of(side):
    return face_mask(side) > 0.05
