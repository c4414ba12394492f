"""Fits the face space of `restore.faces.cover` on face crops, and measures what it finds.

    python -m restore.benchmarks cover --faces FACES --fit restore/weights/cover.safetensors
    python -m restore.benchmarks cover --faces FACES

FACES: the folder with faces256-train-0.tar .. -3.tar (to fit) and faces256-val.tar (to measure).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from restore.benchmarks.protocol import batches, open_faces
from restore.benchmarks.trust_faces import uint8_crops
from restore.errors import InputError
from restore.faces.cover import FaceSpace, face_vector, load_face_space
from restore.geometry.template import ffhq_template
from restore.trust.verdict import Limits

COMPONENTS = 12
SETS = ("none", "mild", "gfpgan", "heavy", "old_photo")
KINDS = ("mask over nose and mouth", "dark glasses", "half a face", "hand before the mouth")


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, or print the share of faces counted as covered."""
    parser = argparse.ArgumentParser("restore.benchmarks cover", description=__doc__)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--fit", type=Path, help="write the face space to this file")
    parser.add_argument("--count", type=int, default=64, help="faces of each set")
    args = parser.parse_args(argv)
    if args.fit:
        fit(args.faces, args.fit)
        return 0
    space = load_face_space()
    if space is None:
        raise InputError("there is no packaged face space; make one with --fit")
    _measure(space, args.faces, args.count)
    return 0


def fit(faces: Path, path: Path) -> None:
    """Principal components of every second training crop -> a safetensors file in float16."""
    from safetensors.numpy import save_file

    vectors = np.stack(list(_training_vectors(faces)))
    mean = vectors.mean(0)
    _, _, components = np.linalg.svd(vectors - mean, full_matrices=False)
    tensors = {"mean": mean, "components": components[:COMPONENTS]}
    about = {"what": "eigenfaces of restore.faces.cover", "faces": str(len(vectors))}
    save_file({k: v.astype(np.float16) for k, v in tensors.items()}, path, about)
    print(f"{len(vectors)} faces -> {path} ({path.stat().st_size / 1024:.0f} kB)")


def _training_vectors(faces: Path) -> Iterator[np.ndarray]:
    template = ffhq_template(256, 1.2, (256.0, 280.0))
    parts = sorted(p.stem.partition("-")[2] for p in faces.glob("faces256-train-*.tar"))
    if not parts:
        raise InputError(f"{faces} holds no faces256-train-*.tar to fit on")
    for part in parts:
        store = open_faces(faces, 256, None, part).store
        for name in tqdm(sorted(store.keys)[::2], desc=part, disable=None):
            yield face_vector(store.image(name), template)


def _measure(space: FaceSpace, faces: Path, count: int) -> None:
    template = ffhq_template(256)
    least = Limits().most_covered
    print(f"| faces | median | 95 % | above {least:.2f} |\n|---|---:|---:|---:|")
    for recipe in SETS:
        found = []
        for batch in batches(open_faces(faces, 256, count), recipe, 8):
            found += [space.covered(crop, template) for crop in uint8_crops(batch.lq)]
        _line(recipe, np.array(found), least)
    random = np.random.default_rng(0)
    for kind, name in enumerate(KINDS):
        found = []
        for batch in batches(open_faces(faces, 256, count), "mild", 8):
            crops = [cover(crop, kind, random) for crop in uint8_crops(batch.lq)]
            found += [space.covered(crop, template) for crop in crops]
        _line(f"mild, {name}", np.array(found), least)


def _line(name: str, found: np.ndarray, least: float) -> None:
    above = (found > least).mean()
    print(f"| {name} | {np.median(found):.2f} | {np.quantile(found, 0.95):.2f} | {above:.0%} |")


def cover(crop: np.ndarray, kind: int, random: np.random.Generator) -> np.ndarray:
    """A crop [256,256,3] in the FFHQ frame with something painted over it, KINDS[kind]."""
    crop = np.ascontiguousarray(crop).copy()
    colour = tuple(int(v) for v in random.integers(0, 256, 3))
    if kind == 0:
        cv2.ellipse(crop, (128, 178), (48, 34), 0, 0, 360, colour, -1, cv2.LINE_AA)
    elif kind == 1:
        for x in (97, 159):
            cv2.ellipse(crop, (x, 120), (28, 20), 0, 0, 360, (15, 15, 18), -1, cv2.LINE_AA)
    elif kind == 2:
        cv2.rectangle(crop, (128, 60), (230, 255), colour, -1)
    else:
        skin = tuple(float(v) * 0.9 for v in crop[150:170, 90:110].reshape(-1, 3).mean(0))
        cv2.ellipse(crop, (150, 180), (60, 22), -35, 0, 360, skin, -1, cv2.LINE_AA)
    return crop
