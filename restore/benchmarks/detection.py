"""Measures face detectors: faces found and missed, false faces, alignment error, CPU seconds.

Two kinds of photos: real ones, of which the number of faces is known, and ones put together from
aligned crops, where the alignment of each face is known too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from restore.benchmarks.composed_photos import CASES, Matrix, Sample, crops_of, read_photo, samples
from restore.errors import InputError, RestoreError
from restore.faces.align import LANDMARK_WEIGHTS, compose, invert, matrix_scale
from restore.faces.detect import Detector, SearchOptions, load_detector
from restore.faces.face import Face
from restore.geometry import ffhq_template, similarity

FACES_IN = {
    "group/Audrey_Hepburn.jpg": 1,
    "group/Harry_Potter.jpg": 3,
    "group/Queen.jpeg": 4,
    "old/a.png": 1,
    "old/b.png": 1,
    "old/c.png": 1,
    "old/d.png": 0,
    "old_scratched/a.png": 1,
    "old_scratched/b.png": 1,
    "old_scratched/c.png": 1,
    "old_scratched/d.png": 2,
}
"""Faces in the real photos, counted by eye."""

FREE_OF_FACES = "old/d.png"


@dataclass(frozen=True, eq=False)
class Jitter:
    """An alignment against the true one, in the 512 px crop."""

    error: float  # mean distance in px of the five template points
    scale: float
    rotation: float  # degrees
    shift: tuple[float, float]  # px, of the middle of the points


def jitter_of(face: Face, truth: Matrix) -> Jitter | None:
    """The alignment of a found face against the true one; None if it is no alignment of that face.

    A face counts as found when its points lie on average within half the distance of the eyes.
    """
    template = ffhq_template(512)
    try:
        own = similarity(face.landmarks, template, LANDMARK_WEIGHTS)
    except InputError:
        return None
    both = compose(own, invert(truth))  # true crop -> crop that the detector would cut
    placed = template @ both[:, :2].T + both[:, 2]
    moved = placed - template
    error = float(np.linalg.norm(moved, axis=1).mean())
    seen = face.landmarks @ truth[:, :2].T + truth[:, 2]
    if np.linalg.norm(seen - template, axis=1).mean() > 63:
        return None
    rotation = float(np.degrees(np.arctan2(both[1, 0], both[0, 0])))
    shift = moved.mean(0)
    return Jitter(error, matrix_scale(both), rotation, (float(shift[0]), float(shift[1])))


def match(faces: Sequence[Face], truths: Sequence[Matrix]) -> tuple[list[Jitter], int]:
    """The jitter of each true face that was found, and the number of false faces."""
    left = list(faces)
    jitters = []
    for truth in truths:
        pairs = [(j, f) for f in left if (j := jitter_of(f, truth)) is not None]
        if pairs:
            jitter, face = min(pairs, key=lambda pair: pair[0].error)
            jitters.append(jitter)
            left.remove(face)
    return jitters, len(left)


def measure(detector: Detector, photos: Iterator[Sample]) -> dict[str, Any]:
    """Counts, jitters and seconds a photo of one detector on one case."""
    jitters: list[Jitter] = []
    there = false = 0
    seconds = []
    for sample in photos:
        start = time.process_time()
        faces = detector.detect(sample.photo)
        seconds.append(time.process_time() - start)
        matched, extra = match(faces, sample.truths)
        jitters += matched
        false += extra
        there += len(sample.truths)
    return {"there": there, "false": false, "jitters": jitters, "seconds": seconds}


def detectors(yunet: Path | None, threads: int, mtcnn: bool) -> dict[str, Callable[[], Detector]]:
    """What is compared, by name."""
    plain = replace(SearchOptions(), second_look=None)
    table: dict[str, Callable[[], Detector]] = {
        "CenterFace, one look": lambda: load_detector("centerface", plain, threads),
        "CenterFace, second look": lambda: load_detector("centerface", None, threads),
    }
    if yunet is not None:
        name = f"yunet:{yunet}"
        table["YuNet, one look"] = lambda: load_detector(name, plain)
        table["YuNet, second look"] = lambda: load_detector(name)
    if mtcnn:
        table["MTCNN"] = lambda: load_detector("mtcnn")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables of docs/detection.md."""
    parser = argparse.ArgumentParser(prog="python -m restore.benchmarks.detection")
    parser.add_argument("--photos", type=Path, required=True, help="folder with group/, old/, ...")
    parser.add_argument("--crops", type=Path, required=True, help="tar of aligned 512 px crops")
    parser.add_argument("--yunet", type=Path, help="YuNet .onnx file")
    parser.add_argument("--mtcnn", action="store_true", help="measure MTCNN as well")
    parser.add_argument("--limit", type=int, default=32, help="crops used in each case")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    args = parser.parse_args(argv)
    try:
        _print_tables(args)
    except RestoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _print_tables(args: argparse.Namespace) -> None:
    cv2.setNumThreads(args.threads)
    crops = crops_of(args.crops)[: args.limit]
    background = read_photo(args.photos / FREE_OF_FACES)
    table = {name: make() for name, make in detectors(args.yunet, args.threads, args.mtcnn).items()}
    for detector in table.values():
        detector.detect(np.zeros((64, 64, 3), np.uint8))  # loads the networks: not what is timed
    print("\nReal photos: faces found of those there, false faces, CPU seconds a photo (median)\n")
    print("| detector | found | false | s |\n|---|---|---|---|")
    for name, detector in table.items():
        print(f"| {name} | {_real_photos(detector, args.photos)} |")
    print(
        "\nPut together: found, false, alignment error in px of the 512 crop (median, 95 %), "
        "CPU seconds a photo (median)\n"
    )
    print("| case | detector | found | false | median | 95 % | s |\n|---|---|---|---|---|---|---|")
    collected: dict[str, list[Jitter]] = {name: [] for name in table}
    for case in CASES:
        if args.only not in case.name:
            continue
        for name, detector in table.items():
            result = measure(detector, samples(case, crops, background, args.seed))
            collected[name] += result["jitters"]
            errors = [j.error for j in result["jitters"]]
            print(
                f"| {case.name} | {name} | {len(errors)}/{result['there']} | {result['false']} "
                f"| {_percentile(errors, 50)} | {_percentile(errors, 95)} "
                f"| {statistics.median(result['seconds']):.2f} |",
                flush=True,
            )
    print("\nAlignment jitter over all cases: median (5 %, 95 %)\n")
    print("| detector | error px | scale | rotation deg | shift x px | shift y px |")
    print("|---|---|---|---|---|---|")
    for name, jitters in collected.items():
        columns = (
            [j.error for j in jitters],
            [j.scale for j in jitters],
            [j.rotation for j in jitters],
            [j.shift[0] for j in jitters],
            [j.shift[1] for j in jitters],
        )
        print(f"| {name} | " + " | ".join(_spread(column) for column in columns) + " |")


def _real_photos(detector: Detector, folder: Path) -> str:
    found = there = false = 0
    seconds = []
    for name, count in FACES_IN.items():
        photo = read_photo(folder / name)
        start = time.process_time()
        faces = len(detector.detect(photo))
        seconds.append(time.process_time() - start)
        there += count
        found += min(faces, count)
        false += max(faces - count, 0)
    return f"{found}/{there} | {false} | {statistics.median(seconds):.2f}"


def _percentile(values: Sequence[float], percent: float) -> str:
    return f"{np.percentile(values, percent):.1f}" if len(values) else "-"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    low, middle, high = np.percentile(values, [5, 50, 95])
    return f"{middle:.3g} ({low:.3g}, {high:.3g})"


if __name__ == "__main__":
    sys.exit(main())
