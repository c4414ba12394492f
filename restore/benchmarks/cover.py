"""How well covered faces are told from open ones (`restore.trust.occlusion`).

    python -m restore.benchmarks cover --faces FACES

FACES: the folder with faces256-val.tar. The four covers are painted by other means than those that
the network learnt from (`restore.degradation.covers`). With --photos STORE, a sheet of the faces of
a store that it holds most covered, to be looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from restore.benchmarks.protocol import batches, open_faces
from restore.benchmarks.trust_faces import uint8_crops
from restore.data.stores import open_store
from restore.errors import InputError
from restore.geometry import ffhq_template
from restore.trust.occlusion import CoverDetector, packaged_cover_detector
from restore.trust.verdict import Limits

SETS = ("none", "mild", "gfpgan", "heavy", "old_photo")
KINDS = ("mask over nose and mouth", "dark glasses", "half a face", "hand before the mouth")


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, or print the share of faces counted as covered."""
    parser = argparse.ArgumentParser("restore.benchmarks cover", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--faces", type=Path)
    what.add_argument("--photos", type=Path, help="store of crops on the template zoomed 1.2")
    parser.add_argument("--network", type=Path, help="another file than the packaged one")
    parser.add_argument("--sheet", type=Path, default=Path("covered.jpg"), help="of --photos")
    parser.add_argument("--count", type=int, default=64, help="faces of each set")
    parser.add_argument("--without", type=int, default=0, help="of other faces than that --count")
    args = parser.parse_args(argv)
    detector = CoverDetector(args.network) if args.network else packaged_cover_detector()
    if detector is None:
        raise InputError("there is no packaged cover network; give one by --network FILE")
    if args.photos:
        _look(detector, args.photos, args.sheet)
    else:
        _measure(detector, args.faces, args.count, args.without)
    return 0


def _measure(detector: CoverDetector, faces: Path, count: int, without: int) -> None:
    template = ffhq_template(256)
    least = Limits().most_covered
    print(f"| faces | median | 95 % | above {least:.2f} |\n|---|---:|---:|---:|")

    def shares(recipe: str, kind: int | None) -> np.ndarray:
        random, found = np.random.default_rng(0), []
        for batch in batches(open_faces(faces, 256, count, without=without), recipe, 8):
            for crop in uint8_crops(batch.lq):
                crop = crop if kind is None else cover(crop, kind, random)
                found.append(detector.covered(crop, template))
        return np.array(found)

    for recipe in SETS:
        _line(recipe, shares(recipe, None), least)
    for kind, name in enumerate(KINDS):
        _line(f"mild, {name}", shares("mild", kind), least)


def _look(detector: CoverDetector, photos: Path, path: Path) -> None:
    """The 40 most covered faces of a store, and 40 around the limit; the shares are printed."""
    store, found = open_store(photos), []
    for key in tqdm(sorted(store.keys), desc=photos.name, disable=None):
        crop = store.image(key)
        template = ffhq_template(crop.shape[0], 1.2, (256.0, 280.0))
        found.append((detector.covered(crop, template), key))
    found.sort(reverse=True)
    least = Limits().most_covered
    above = sum(share > least for share, _ in found)
    print(f"{above} of {len(found)} faces above {least:.2f}")
    middle = max(0, min(above, len(found) - 20) - 20)
    cells = [
        cv2.resize(store.image(key), (96, 96), interpolation=cv2.INTER_AREA)
        for _, key in [*found[:40], *found[middle : middle + 40]]
    ]
    rows = [np.concatenate(cells[i : i + 20], 1) for i in range(0, len(cells) - 19, 20)]
    Image.fromarray(np.concatenate(rows)).save(path, quality=88)


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
