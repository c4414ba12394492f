"""The pictures of the documents: before/after pairs side by side, and those of docs/trust.md.

    python -m benchmarks pictures results/cmp/*.png -o docs/img/before_after.jpg
    python -m benchmarks pictures --trust docs/img

Nobody in them exists. What is done to the faces is seeded; the statuses are what the pipeline says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.faces import pixels, planes, resized
from benchmarks.trust import occlude
from restore.degradation.degrade import degrade
from restore.errors import InputError
from restore.images.contact_sheet import grid_sheet
from restore.latents.generate import generate_faces, load_generator
from restore.pipeline.options import TrustOptions
from restore.pipeline.restorer import Restorer
from tools.samples import group

SIDE, SHOWN = 512, 228
SEPIA = np.array([1.07, 0.93, 0.72])
"""Tone of a print: what the luma is multiplied by in R, G, B."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture, or the three of --trust."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--width", type=int, default=480, help="px of each pair")
    parser.add_argument("--trust", type=Path, metavar="FOLDER", help="trust_*.jpg go there")
    args = parser.parse_args(argv)
    if args.trust is not None:
        restorer = Restorer.load("default")
        args.trust.mkdir(parents=True, exist_ok=True)
        for name, draw in (("statuses", statuses), ("grain", grain), ("crowd", crowd)):
            path = args.trust / f"trust_{name}.jpg"
            draw(restorer).save(path, quality=88)
            print(path)
        return 0
    missing = [str(file) for file in args.pictures if not file.is_file()]
    if missing or not args.pictures or args.output is None:
        raise InputError(f"pictures and -o FILE are needed; not there: {', '.join(missing) or '-'}")
    sheet = montage(args.pictures, args.columns, args.width)
    sheet.save(args.output, quality=88)
    print(f"{args.output}: {sheet.width} x {sheet.height}")
    return 0


def montage(files: Sequence[Path], columns: int, width: int) -> Image.Image:
    """Pictures of one shape, each `width` px wide, side by side in `columns`."""
    shown = []
    for file in files:
        with Image.open(file) as picture:
            size = (width, round(picture.height * width / picture.width))
            shown.append(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    height = max(picture.height for picture in shown)
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for i, made in enumerate(shown):
        sheet.paste(made, ((i % columns) * width, (i // columns) * height))
    return sheet


def statuses(restorer: Restorer) -> Image.Image:
    """Faces that differ in what is wrong with them; below each its result and status."""
    faces = list(generate_faces(load_generator(), SEEDS, 0.7, SIDE))
    above, below, captions = [], [], []
    for face, change in zip(faces, CHANGES, strict=True):
        crop = change(face)
        result = restorer.restore(crop, aligned=True)
        above.append(resized(crop, SHOWN))
        below.append(resized(np.asarray(result.image), SHOWN))
        found = result.faces[0]
        captions.append(f"{found.status.replace('_', ' ')}, {found.strength:.0%}")
    return grid_sheet(above + below, [""] * len(above) + captions, columns=len(above))


def grain(restorer: Restorer) -> Image.Image:
    """A grainy photo, restored, and restored with `grain="match"`; the face, magnified."""
    face = next(iter(generate_faces(load_generator(), [15], 0.7, SIDE)))
    small = cv2.resize(face, (320, 320), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).normal(0, 16, small.shape[:2])
    noise = cv2.GaussianBlur(noise, (0, 0), 0.6)
    photo = np.clip(small + noise[:, :, None] * 1.6, 0, 255).round().astype(np.uint8)
    shown = [photo]
    for matched in ("off", "match"):
        trust = TrustOptions(grain=matched, gentle=False, keep_good=False)
        shown.append(np.asarray(restorer.restore(photo, scale=1, trust=trust).image))
    enlarged = [resized(picture, 400) for picture in shown]
    return grid_sheet(enlarged, ["photo", "restored", "restored, --grain match"], columns=3)


def crowd(restorer: Restorer) -> Image.Image:
    """People close together, faces before faces and faces cut by the photo's frame; restored."""
    faces = generate_faces(load_generator(), [15, 33, 8, 21], 0.7, SIDE)
    scene = group([np.asarray(face / 255, np.float32) for face in faces], 420, overlap=0.56)
    cut = np.ascontiguousarray(scene[60:, 150 : scene.shape[1] - 165])
    small = cv2.resize(cut, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).normal(0, 0.02, small.shape)
    photo = np.clip(cv2.GaussianBlur(small, (0, 0), 0.9) + noise, 0, 1)
    photo = (photo * 255).round().astype(np.uint8)
    result = restorer.restore(photo, scale=3)
    image = np.asarray(result.image)
    enlarged = cv2.resize(photo, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    said = [face.status.replace("_", " ") for face in sorted(result.faces, key=lambda f: f.box[0])]
    return grid_sheet([enlarged, image], ["photo, enlarged", ", ".join(said)], columns=2)


def _degraded(recipe: str, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(face: np.ndarray) -> np.ndarray:
        found: np.ndarray = pixels(
            degrade(planes(face[None]).float() / 127.5 - 1, recipe, seeds=[seed]).lq
        )[0]
        return found

    return change


def _covered(face: np.ndarray) -> np.ndarray:
    return occlude(_degraded("mild", 2)(resized(face, 256)), 2, np.random.default_rng(1))


def _sepia(face: np.ndarray) -> np.ndarray:
    luma = cv2.cvtColor(_degraded("gfpgan_no_color", 5)(face), cv2.COLOR_RGB2GRAY)
    found: np.ndarray = np.clip(luma[:, :, None] * SEPIA, 0, 255).round().astype(np.uint8)
    return found


SEEDS = (3, 15, 33, 8, 21, 40)
CHANGES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    np.copy,
    _degraded("gfpgan_no_color", 1),
    _sepia,
    _degraded("heavy", 4),
    lambda face: resized(face, 24),
    _covered,
)
"""To the face of each seed: nothing, the usual, a print, too much, far away, covered."""
