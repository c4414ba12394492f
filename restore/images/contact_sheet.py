"""Contact sheets: a grid of pictures with a caption under each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from restore.errors import InputError

GAP = 4
INK, PAPER = (30, 30, 30), (250, 250, 250)


def grid_sheet(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    columns: int | None = None,
) -> Image.Image:
    """Pictures RGB uint8 [h,w,3] of one size, row by row; without `columns` nearly square.

    Captions (one line each, as many as pictures) stand below; None leaves no room for them.
    """
    if not pictures:
        raise InputError("a sheet needs one picture or more, got none")
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1 or pictures[0].ndim != 3 or pictures[0].shape[2] != 3:
        raise InputError(f"pictures of a sheet have shapes {shapes}; expected one shape [h,w,3]")
    if captions is not None and len(captions) != len(pictures):
        raise InputError(f"{len(captions)} captions for {len(pictures)} pictures; give one each")
    height, width = pictures[0].shape[:2]
    text_size = max(10, min(20, width // 12))
    line = 0 if captions is None else text_size + 6
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new(
        "RGB", (columns * (width + GAP) + GAP, rows * (height + line + GAP) + GAP), PAPER
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=text_size)
    for i, picture in enumerate(pictures):
        x = GAP + (i % columns) * (width + GAP)
        y = GAP + (i // columns) * (height + line + GAP)
        sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))
        if captions is not None:
            pen.text((x, y + height + 1), captions[i], fill=INK, font=font)
    return sheet
