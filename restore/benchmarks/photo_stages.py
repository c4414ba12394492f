"""Whole photos stage by stage, from file to file: seconds, growth, peak memory."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from restore.errors import InputError
from restore.pipeline.restorer import Restorer

STAGES_SIZES = (0.3, 2.0, 12.0, 48.0)  # megapixels
FACES = (1, 4, 20)
STAGES = ("read", "detect", "align", "network", "trust", "background", "paste")


def composed_photo(face: np.ndarray, megapixels: float, count: int) -> np.ndarray:
    """A 4:3 photo uint8 [h,w,3] with `count` copies of a face crop [s,s,3] on a grid.

    Faces are as large as the grid allows, at most 1,024 px.
    """
    import cv2

    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    photo = np.stack([120 + 40 * x / width, 130 + 30 * y / height, 110 + 0 * x], -1)
    photo = photo.astype(np.uint8)
    columns = int(np.ceil(np.sqrt(count * 4 / 3)))
    rows = int(np.ceil(count / columns))
    side = min(int(min(width / columns, height / rows) * 0.85), 1024)
    resized = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    for i in range(count):
        top = int((i // columns + 0.5) * height / rows - side / 2)
        left = int((i % columns + 0.5) * width / columns - side / 2)
        photo[top : top + side, left : left + side] = resized
    return photo


class PeakMemory:
    """Highest resident memory in MB of this process, and its rise, sampled every 5 ms (Linux)."""

    def __enter__(self) -> PeakMemory:
        self.base = self.peak = _resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, _resident())

    @property
    def megabytes(self) -> float:
        """The highest."""
        return self.peak / 1e6

    @property
    def rise(self) -> float:
        """The highest less what was there at the start."""
        return (self.peak - self.base) / 1e6


def _resident() -> int:
    import resource

    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def face_crop(restorer: Restorer, photo: Path) -> np.ndarray:
    """The first face of a photo, as it goes into the network."""
    for face in restorer.restore(photo, scale=1).faces:
        if face.crop is not None:
            return face.crop
    raise InputError(f"no face was found in {photo}; give a photo with one")


def stage_table(photo: Path, model: str, sizes: Sequence[float] = STAGES_SIZES) -> str:
    """A Markdown row for each size and number of faces: seconds per stage, seconds of CPU time, MB.

    Photos are JPEG files, read from and written to disk at their own size.
    """
    import cv2

    restorer = Restorer.load(model)
    face = face_crop(restorer, photo)
    lines = [
        f"{restorer.runtime.name}, {getattr(restorer.runtime, 'precision', '')}; the face of "
        f"{photo.name}",
        f"| MP | faces | found | {' | '.join(STAGES)} | encode | total | cpu s | peak MB | rise |",
        "|" + "---|" * (len(STAGES) + 8),
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jpg"), Path(folder, "out.jpg")
        for megapixels in sizes:
            for count in FACES:
                pixels = composed_photo(face, megapixels, count)
                cv2.imwrite(str(source), pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
                del pixels
                lines.append(_row(restorer, source, target, megapixels, count))
                print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def _row(restorer: Restorer, source: Path, target: Path, megapixels: float, count: int) -> str:
    used = time.process_time()
    with PeakMemory() as memory:
        done = restorer.restore(source, scale=1)
        start = time.perf_counter()
        done.save(target)
        encode = time.perf_counter() - start
    used = time.process_time() - used
    cells = " | ".join(f"{done.timings.get(name, 0.0):.2f}" for name in STAGES)
    return (
        f"| {megapixels:g} | {count} | {len(done.faces)} | {cells} | {encode:.2f} "
        f"| {done.seconds + encode:.2f} | {used:.2f} | {memory.megabytes:.0f} | {memory.rise:.0f} |"
    )
