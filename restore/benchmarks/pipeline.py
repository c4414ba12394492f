"""The command line: start-up, the first photo, and a folder: utilisation and memory."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restore.benchmarks.photo_stages import composed_photo, face_crop
from restore.pipeline.restorer import Restorer
from restore.runtime.onnx_runtime import cpu_count

IMPORT = "import restore"
LOAD = (
    "import restore.cli; from restore.pipeline.restorer import load_restorer; load_restorer({!r})"
)
COUNTS = (1, 1, 2, 1, 4)  # faces of the photos of the folder, over and over
MEGAPIXELS = (0.3, 2.0, 0.3, 5.0, 1.0)


@dataclass(frozen=True)
class Spent:
    """What a command took: wall and processor seconds, peak memory in MB."""

    wall: float
    cpu: float
    megabytes: float

    @property
    def utilisation(self) -> float:
        """Cores kept busy, of all that this process may use."""
        return self.cpu / self.wall / cpu_count()


_WATCH = """import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3]))"""


def spent_by(command: Sequence[str]) -> Spent:
    """Run a command to its end; CalledProcessError where it fails.

    A small process starts and watches it: Linux counts the starter's memory to the started.
    """
    watch = [sys.executable, "-c", _WATCH, *command]
    said = subprocess.run(watch, stdout=subprocess.PIPE, check=True).stdout
    code, wall, cpu, megabytes = json.loads(said)
    if code:
        raise subprocess.CalledProcessError(code, list(command))
    return Spent(wall, cpu, megabytes)


def start_up(photo: Path, model: str, repeats: int = 3) -> dict[str, Spent]:
    """Cold starts, each in a new process: import, import and load, command with one photo."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            IMPORT: [sys.executable, "-c", IMPORT],
            "import of the command line, model loaded": [sys.executable, "-c", LOAD.format(model)],
            "command to exit, one photo": [
                sys.executable, "-m", "restore", "-i", str(photo), "-o", folder, "--overwrite",
                "--model", model, "--quiet", "-s", "1",
            ],
        }  # fmt: skip
        for name, command in commands.items():
            found[name] = min(
                (spent_by(command) for _ in range(repeats)), key=lambda spent: spent.wall
            )
    return found


def write_folder(folder: Path, photo: Path, model: str, count: int) -> None:
    """`count` JPEG photos of several sizes with the face of `photo`, one to four times."""
    import cv2

    face = face_crop(Restorer.load(model), photo)
    for i in range(count):
        target = folder / f"{i:04d}.jpg"
        kind = i % len(COUNTS)
        if i >= len(COUNTS):
            shutil.copyfile(folder / f"{kind:04d}.jpg", target)
            continue
        pixels = composed_photo(face, MEGAPIXELS[kind], COUNTS[kind])
        cv2.imwrite(str(target), pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


def folder_rows(photo: Path, model: str, count: int) -> list[str]:
    """A folder one after the other and overlapped, in this order twice: the better of each."""
    rows = ["| folder | seconds | cpu s | cores busy | peak MB |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "in")
        source.mkdir()
        write_folder(source, photo, model, count)
        best: dict[str, Spent] = {}
        for _ in range(2):
            for ahead in ("0", "2"):
                command = [
                    sys.executable, "-m", "restore", "-i", str(source), "-o", f"{place}/out",
                    "--overwrite", "-s", "1", "--model", model, "--quiet", "--ahead", ahead,
                ]  # fmt: skip
                spent = spent_by(command)
                if ahead not in best or spent.wall < best[ahead].wall:
                    best[ahead] = spent
    for ahead, spent in best.items():
        how = "one after the other" if ahead == "0" else f"--ahead {ahead}"
        rows.append(
            f"| {count} photos, {how} | {spent.wall:.1f} | {spent.cpu:.1f} "
            f"| {100 * spent.utilisation:.0f} % | {spent.megabytes:.0f} |"
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print start-up times and, with --folder, a run over so many photos."""
    parser = argparse.ArgumentParser(prog="python -m restore.benchmarks pipeline")
    parser.add_argument("photo", type=Path, help="a photo with a face")
    parser.add_argument("--model", default="default")
    parser.add_argument("--folder", type=int, metavar="N", help="a folder of N photos, too")
    parser.add_argument("--repeats", type=int, default=3, help="of each start; default 3")
    options = parser.parse_args(argv)
    print("| start | seconds | cpu s | peak MB |\n|---|---|---|---|")
    for name, spent in start_up(options.photo, options.model, options.repeats).items():
        print(f"| {name} | {spent.wall:.2f} | {spent.cpu:.2f} | {spent.megabytes:.0f} |")
    if options.folder:
        print("\n" + "\n".join(folder_rows(options.photo, options.model, options.folder)))
    return 0
