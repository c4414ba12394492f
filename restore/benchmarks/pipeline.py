"""Whole photos: start-up, the first written photo, seconds per stage, growth and peak memory."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from restore.pipeline.restorer import Restorer

# (megapixels, faces) of the composed photos
SIZES = ((0.3, 1), (2.0, 4), (12.0, 1), (12.0, 4), (12.0, 10), (12.0, 20), (48.0, 10))
IMPORT_LINE = "import time; t = time.perf_counter(); import restore; print(time.perf_counter() - t)"


def composed_photo(face: np.ndarray, megapixels: float, count: int) -> np.ndarray:
    """A 4:3 photo uint8 [h,w,3] with `count` copies of a face crop [s,s,3] on a grid."""
    import cv2

    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    photo = np.stack([120 + 40 * x / width, 130 + 30 * y / height, 110 + 0 * x], -1)
    photo = photo.astype(np.uint8)
    columns = int(np.ceil(np.sqrt(count * 4 / 3)))
    rows = int(np.ceil(count / columns))
    side = int(min(width / columns, height / rows) * 0.85)
    resized = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    for i in range(count):
        top = int((i // columns + 0.5) * height / rows - side / 2)
        left = int((i % columns + 0.5) * width / columns - side / 2)
        photo[top : top + side, left : left + side] = resized
    return photo


class PeakMemory:
    """Highest resident memory in MB above that at entry, sampled every 5 ms (Linux)."""

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
        """The rise above the start."""
        return self.peak - self.base


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def start_up(photo: Path, model: str) -> dict[str, float]:
    """Seconds of `import restore`, and from command start to exit with one photo; best of 3."""
    imports, commands = [], []
    for _ in range(3):
        line = subprocess.run(
            [sys.executable, "-c", IMPORT_LINE], capture_output=True, text=True, check=True
        )
        imports.append(float(line.stdout))
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "restore", "-i", str(photo), "-o", folder]
            start = time.perf_counter()
            subprocess.run([*command, "--model", model, "--quiet"], check=True)
            commands.append(time.perf_counter() - start)
    return {"import restore": min(imports), "command to exit, one photo": min(commands)}


def stages(restorer: Restorer, face: np.ndarray, scale: float) -> list[str]:
    """One markdown row per photo size: seconds per stage, peak memory."""
    names = ("detect", "align", "network", "background", "paste")
    rows = [
        f"| megapixels | faces put | found | {' | '.join(names)} | total s | peak MB |",
        "|" + "---|" * (len(names) + 5),
    ]
    for megapixels, count in SIZES:
        photo = composed_photo(face, megapixels, count)
        with PeakMemory() as memory:
            done = restorer.restore(photo, scale=scale)
        cells = " | ".join(f"{done.timings.get(name, 0.0):.2f}" for name in names)
        rows.append(
            f"| {megapixels} | {count} | {len(done.faces)} | {cells} | {done.seconds:.2f} "
            f"| {memory.megabytes:.0f} |"
        )
        print(rows[-1], file=sys.stderr)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print start-up times and the table of stages."""
    parser = argparse.ArgumentParser(prog="python -m restore.benchmarks pipeline")
    parser.add_argument("photo", type=Path, help="a photo with a face, for the start-up")
    parser.add_argument("--model", default="default")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("-s", "--upscale", type=float, default=1.0)
    arguments = parser.parse_args(argv)
    for name, seconds in start_up(arguments.photo, arguments.model).items():
        print(f"{name}: {seconds:.2f} s")
    start = time.perf_counter()
    restorer = Restorer.load(arguments.model, backend=arguments.backend)
    print(f"Restorer.load: {time.perf_counter() - start:.2f} s")
    face = next(
        (f for f in restorer.restore(arguments.photo, scale=1).faces if f.crop is not None), None
    )
    if face is None or face.crop is None:
        print(f"no face in {arguments.photo}", file=sys.stderr)
        return 1
    print("\n".join(stages(restorer, face.crop, arguments.upscale)))
    return 0
