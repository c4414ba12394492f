"""A runtime and a detector made of numpy, for tests of the pipeline."""

from __future__ import annotations

import numpy as np

from restore.faces.face import Face
from restore.geometry import ffhq_template


class InvertRuntime:
    """Returns the negative of each crop; fails on a crop whose mean is at `poison`."""

    name = "fake"

    def __init__(self, size: int = 64, poison: float | None = None, fidelity: bool = True) -> None:
        self.crop_size, self.poison, self.supports_fidelity = size, poison, fidelity
        self.template = ffhq_template(size)
        self.batches: list[int] = []

    def run(self, crops, fidelity):
        self.batches.append(len(crops))
        if self.poison is not None:
            means = crops.reshape(len(crops), -1).mean(1)
            if (np.abs(means - self.poison) < 2).any():
                raise RuntimeError("this face is poison")
        strength = np.float32(fidelity)
        mixed = np.rint(255 - strength * crops.astype(np.float32)).astype(np.uint8)
        estimates = np.tile(np.array([0.0, 2.0, 0.4, 0.6, 0.0, 0.1], np.float32), (len(crops), 1))
        return mixed, estimates


class FixedDetector:
    """Says the same faces for every photo."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, image):
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        return self.faces


class BrightSquareDetector:
    """Finds the brightest spot and says that a face is around it: another one in every photo."""

    def detect(self, image):
        y, x = np.unravel_index(image.sum(2).argmax(), image.shape[:2])
        return [face_at(float(x), float(y), 20.0)]


def face_at(x: float, y: float, size: float, score: float = 0.9) -> Face:
    """A face whose template (512 px) is `size` px wide with its middle at x, y."""
    points = (ffhq_template(512) + 0.5) * (size / 512) - 0.5 + (x - size / 2, y - size / 2)
    box = np.array([x - size / 3, y - size / 3, x + size / 3, y + size / 3])
    return Face(box, points, score)


class NoOcclusion:
    """In place of the packaged cover detector: every face is open."""

    def covered(self, crop, template):
        return 0.0
