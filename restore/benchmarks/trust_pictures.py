"""The pictures of docs/trust.md: statuses of generated faces, matched grain, faces that overlap.

    python -m restore.benchmarks trust_pictures -o docs/img

Nobody in them exists. What is done to the faces is seeded; the statuses are what the pipeline says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from restore.benchmarks.cover import cover
from restore.benchmarks.trust_faces import uint8_crops
from restore.degradation.degrade import degrade
from restore.latents.generate import generate_faces, load_generator
from restore.latents.scenes import group
from restore.latents.sheets import grid_sheet
from restore.pipeline.options import TrustOptions
from restore.pipeline.restorer import Restorer

SIDE = 512
SHOWN = 228
SEPIA = np.array([1.07, 0.93, 0.72])
"""Tone of a print: what the luma is multiplied by in R, G, B."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write trust_statuses.jpg, trust_grain.jpg and trust_crowd.jpg."""
    parser = argparse.ArgumentParser(
        "restore.benchmarks trust_pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder")
    parser.add_argument("--model", default="default")
    parser.add_argument("--backend", default="auto")
    args = parser.parse_args(argv)
    restorer = Restorer.load(args.model, backend=args.backend)
    args.output.mkdir(parents=True, exist_ok=True)
    for name, draw in (("statuses", statuses), ("grain", grain), ("crowd", crowd)):
        sheet = draw(restorer)
        path = args.output / f"trust_{name}.jpg"
        sheet.save(path, quality=88)
        print(path)
    return 0


def statuses(restorer: Restorer) -> Image.Image:
    """Faces that differ in what is wrong with them; below each its result and status."""
    faces = list(generate_faces(load_generator(), SEEDS, 0.7, SIDE))
    above, below, captions = [], [], []
    for face, spoil in zip(faces, SPOILT, strict=True):
        crop = spoil(face)
        result = restorer.restore(crop, aligned=True)
        above.append(_shown(crop))
        below.append(_shown(np.asarray(result.image)))
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
    pictures = [photo]
    for matched in ("off", "match"):
        trust = TrustOptions(grain=matched, gentle=False, keep_good=False)
        pictures.append(np.asarray(restorer.restore(photo, scale=1, trust=trust).image))
    shown = [cv2.resize(p, (400, 400), interpolation=cv2.INTER_CUBIC) for p in pictures]
    return grid_sheet(shown, ["photo", "restored", "restored, --grain match"], columns=3)


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
    def spoil(face: np.ndarray) -> np.ndarray:
        gt = torch.from_numpy(face).permute(2, 0, 1)[None] / 127.5 - 1
        return uint8_crops(degrade(gt, recipe, seeds=[seed]).lq)[0]

    return spoil


def _tiny(face: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(face, (24, 24), interpolation=cv2.INTER_AREA))


def _covered(face: np.ndarray) -> np.ndarray:
    small = cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA)
    return cover(_degraded("mild", 2)(small), 2, np.random.default_rng(1))


def _sepia(face: np.ndarray) -> np.ndarray:
    luma = cv2.cvtColor(_degraded("gfpgan_no_color", 5)(face), cv2.COLOR_RGB2GRAY)
    return np.clip(luma[:, :, None] * SEPIA, 0, 255).round().astype(np.uint8)


def _shown(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(picture, (SHOWN, SHOWN), interpolation=cv2.INTER_CUBIC))


SEEDS = (3, 15, 33, 8, 21, 40)
SPOILT: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    np.copy,
    _degraded("gfpgan_no_color", 1),
    _sepia,
    _degraded("heavy", 4),
    _tiny,
    _covered,
)
"""To the face of each seed: nothing, the usual, a print, too much, far away, covered."""
