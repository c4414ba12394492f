"""A restorer for tests of the page that notes what is asked of it, and photos for it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from restore.pipeline.restorer import Restorer
from tests.images.test_xmp import DC, packet
from tests.pipeline.fakes import FixedDetector, InvertRuntime, face_at
from tests.pipeline.test_restorer import smooth


class CountingDetector(FixedDetector):
    """Counts how often it looked."""

    looks = 0

    def detect(self, image):
        self.looks += 1
        return super().detect(image)


class NotingRuntime(InvertRuntime):
    """Notes the fidelity of each run."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.dials: list[list[float]] = []

    def run(self, crops, fidelity):
        import numpy as np

        dials = np.broadcast_to(np.asarray(fidelity, np.float32), len(crops))
        self.dials.append([round(float(v), 3) for v in dials])
        restored = [InvertRuntime.run(self, crops[i : i + 1], d) for i, d in enumerate(dials)]
        return tuple(np.concatenate(parts) for parts in zip(*restored, strict=True))


def restorer_with_two_faces(**options) -> Restorer:
    """Finds the same two faces in every photo."""
    faces = face_at(60, 60, 60), face_at(150, 60, 60)
    return Restorer(NotingRuntime(**options), CountingDetector(*faces))


def save_photo(path: Path) -> Path:
    """A JPEG of 220 x 120 px with EXIF and XMP."""
    exif = Image.Exif()
    exif[0x010F] = "Leica"
    xmp = packet(f'<rdf:Description rdf:about="" {DC} dc:format="image/jpeg"/>')
    Image.fromarray(smooth(120, 220)).save(path, xmp=xmp, exif=exif)
    return path
