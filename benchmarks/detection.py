"""Face detectors: faces found and missed, false faces, alignment error, CPU seconds."""

from __future__ import annotations

import argparse
import io
import statistics
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.align import (
    LANDMARK_WEIGHTS,
    compose,
    grid_bounds,
    invert,
    matrix_scale,
    shifted,
    warp,
)
from restore.faces.detect import Detector, SearchOptions, load_detector
from restore.faces.face import Face
from restore.geometry import ffhq_template, similarity

Photo = NDArray[np.uint8]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """How a photo is put together: its size, pixels between the eyes, turn in degrees, damage."""

    name: str
    eyes: float
    turn: float = 0.0
    heavy: bool = False
    width: int = 1200
    height: int = 900
    per_photo: int = 4


CASES = (
    Case("100 px, mild", 100),
    Case("100 px, heavy", 100, heavy=True),
    Case("50 px, mild", 50),
    Case("50 px, heavy", 50, heavy=True),
    Case("24 px, mild", 24),
    Case("24 px, heavy", 24, heavy=True),
    Case("24 px of 12 MP, mild", 24, width=4000, height=3000),
    Case("14 px, mild", 14),
    Case("50 px, turned 30, mild", 50, turn=30),
    Case("50 px, sideways 90, mild", 50, turn=90),
    Case("50 px, on its head, mild", 50, turn=180),
    Case("fills the frame, mild", 200, width=430, height=430, per_photo=1),
    Case("fills the frame, heavy", 200, width=430, height=430, per_photo=1, heavy=True),
)


@dataclass(frozen=True, eq=False)
class Sample:
    """A photo and, per face in it, the true map [2,3] from photo to 512 px FFHQ crop."""

    photo: Photo
    truths: list[Matrix]


def crops_of(shard: Path) -> list[Photo]:
    """RGB uint8 crops of a tar of images, in the order of their names."""
    from PIL import Image

    try:
        with tarfile.open(shard) as tar:
            members = sorted((m for m in tar.getmembers() if m.isfile()), key=lambda m: m.name)
            data = [tar.extractfile(member) for member in members]
            return [
                np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
                for file in data
                if file is not None
            ]
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{shard} is no readable tar of images: {error}") from error


def read_photo(path: Path) -> Photo:
    """RGB uint8 [h,w,3]."""
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def compose_photo(
    crops: Sequence[Photo], background: Photo, case: Case, random: np.random.Generator
) -> Sample:
    """Crops (template zoomed 1.2 about (256, 280)) laid into a background, then degraded."""
    small = cv2.resize(background, (case.width // 2, case.height // 2))
    photo = cv2.resize(small, (case.width, case.height)).astype(np.float32)
    truths = []
    columns = 2 if len(crops) > 1 else 1
    rows = -(-len(crops) // columns)
    for index, crop in enumerate(crops):
        side = crop.shape[0]
        own = ffhq_template(side, 1.2, (256.0, 280.0))
        scale = case.eyes * random.uniform(0.85, 1.15) / float(own[1, 0] - own[0, 0])
        angle = np.radians(case.turn + random.uniform(-8, 8))
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        cell = np.array([case.width / columns, case.height / rows])
        centre = cell * (np.array([index % columns, index // columns]) + 0.5)
        centre += random.uniform(-0.04, 0.04, 2) * cell
        to_photo = np.concatenate([linear, (centre - linear @ own.mean(0))[:, None]], axis=1)
        truths.append(compose(similarity(own, ffhq_template(512)), invert(to_photo)))
        edge = np.clip(np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.04 * side), 0, 1)
        alpha = np.outer(edge, edge).astype(np.float32)
        low_x, low_y, high_x, high_y = grid_bounds(invert(to_photo), side, side)
        x0, y0 = max(int(low_x), 0), max(int(low_y), 0)
        x1, y1 = min(int(high_x) + 2, case.width), min(int(high_y) + 2, case.height)
        to_region = compose(shifted(-x0, -y0), to_photo)
        alpha = warp(alpha, to_region, x1 - x0, y1 - y0, "constant")[..., None].clip(0, 1)
        face = warp(crop, to_region, x1 - x0, y1 - y0, "replicate")
        region = photo[y0:y1, x0:x1]
        region += alpha * (face - region)
    photo8 = np.clip(np.rint(photo), 0, 255).astype(np.uint8)
    return Sample(_degrade(photo8, case, random), truths)


def samples(case: Case, crops: Sequence[Photo], background: Photo, seed: int) -> Iterator[Sample]:
    """The photos of one case, the same for every detector."""
    random = np.random.default_rng(seed)
    for first in range(0, len(crops) - case.per_photo + 1, case.per_photo):
        yield compose_photo(crops[first : first + case.per_photo], background, case, random)


def _degrade(photo: Photo, case: Case, random: np.random.Generator) -> Photo:
    """Blur, down-scaling, noise and JPEG, in proportion to the faces; half of the heavy is gray."""
    height, width = photo.shape[:2]
    # heavy leaves about 12 px between the eyes of a face of any size above that
    factor = max(case.eyes / 12, 1.5) if case.heavy else 1.0
    sigma = 0.5 * factor if case.heavy else 0.7
    out = cv2.GaussianBlur(photo, (0, 0), sigma)
    small = (max(round(width / factor), 1), max(round(height / factor), 1))
    out = cv2.resize(out, small, interpolation=cv2.INTER_AREA)
    noise = random.normal(0, 12 if case.heavy else 4, out.shape)
    out = np.clip(np.rint(out + noise), 0, 255).astype(np.uint8)
    if case.heavy and random.random() < 0.5:
        out = np.repeat(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    quality = 45 if case.heavy else 80
    _, code = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
    coded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return cv2.resize(coded, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection")
    parser.add_argument("--photos", type=Path, required=True, help="folder with group/, old/, ...")
    parser.add_argument("--crops", type=Path, required=True, help="tar of aligned 512 px crops")
    parser.add_argument("--yunet", type=Path, help="YuNet .onnx file")
    parser.add_argument("--mtcnn", action="store_true", help="measure MTCNN as well")
    parser.add_argument("--limit", type=int, default=32, help="crops used in each case")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    args = parser.parse_args(argv)
    _print_tables(args)
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
