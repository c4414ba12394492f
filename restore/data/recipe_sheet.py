"""A contact sheet: faces, what recipes make of them, and the truth below each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from restore.degradation.degrade import degrade
from restore.degradation.truth import DegradationTruth
from restore.errors import InputError
from restore.images.files import open_picture, read_regular
from restore.images.formats import PHOTO_SUFFIXES

CAPTION_HEIGHT = 30
GAP = 4
INK, PAPER = (30, 30, 30), (250, 250, 250)


def find_faces(path: Path, limit: int) -> list[Path]:
    """The image file at path, or the first `limit` of a folder by name; none is refused."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"input: found nothing at {path}, expected an image or a folder of them")
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)[: max(limit, 1)]
    if not files:
        raise InputError(f"input: found no image in {path}, expected {', '.join(PHOTO_SUFFIXES)}")
    return files


def read_faces(paths: Sequence[Path], size: int) -> Tensor:
    """RGB float32 `[n,3,size,size]` in [-1,1]: the central square of each file, resized."""
    if size < 16:
        raise InputError(f"size: found {size}, expected 16 px or more")
    faces = []
    for path in paths:
        with open_picture(read_regular(path)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        square = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
        faces.append(torch.from_numpy(np.asarray(square).copy()))
    return torch.stack(faces).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def draw_sheet(
    faces: Tensor,
    recipes: Sequence[str],
    seed: int,
    draws: int,
    cell: int = 256,
    with_gt: bool = True,
) -> Image.Image:
    """One row a recipe and face `[n,3,h,w]`, one column a draw (and one for the face), captions."""
    if draws < 1 or cell < 32:
        raise InputError(f"found {draws} draws and {cell} px cells, expected >= 1 and >= 32")
    n = len(faces)
    columns = draws + with_gt
    sheet = Image.new(
        "RGB",
        (columns * (cell + GAP) + GAP, len(recipes) * n * (cell + CAPTION_HEIGHT + GAP) + GAP),
        PAPER,
    )
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for band, recipe in enumerate(recipes):
        # every recipe from the same seed: what two of them share is drawn alike
        generator = torch.Generator().manual_seed(seed)
        made = [degrade(faces, recipe, generator) for _ in range(draws)]
        for i in range(n):
            pictures = [(one.lq[i], caption(one.truth, i)) for one in made]
            if with_gt:
                pictures.insert(0, (faces[i], f"good face\n{recipe}:"))
            y = GAP + (band * n + i) * (cell + CAPTION_HEIGHT + GAP)
            for column, (picture, text) in enumerate(pictures):
                x = GAP + column * (cell + GAP)
                small = _to_image(picture).resize((cell, cell), Image.Resampling.LANCZOS)
                sheet.paste(small, (x, y))
                pen.multiline_text((x, y + cell + 1), text, fill=INK, font=font, spacing=1)
    return sheet


def caption(truth: DegradationTruth, i: int) -> str:
    """Two short lines: what was done to sample i, in option-file units."""
    t = truth[i : i + 1]
    first = f"blur {float(t.blur_sigma):.1f}  scale {float(t.scale):.1f}"
    second = f"noise {float(t.noise_sigma):.2g}  jpeg {float(t.jpeg_quality):.0f}"
    if float(t.gray) > 0:
        first += "  gray"
    if float(t.damage) > 0:
        second += f"  damage {float(t.damage):.2f}"
    return f"{first}\n{second}"


def _to_image(picture: Tensor) -> Image.Image:
    pixels = (picture.clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
