"""Photos put together from aligned crops, with the true alignment of each face, then degraded."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.align import compose, grid_bounds, invert, shifted, warp
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
