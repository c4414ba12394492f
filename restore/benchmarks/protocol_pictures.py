"""What the protocol shows: a sheet of faces, and the degradation head's estimates against truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from restore.benchmarks.protocol_tables import PARAMETERS
from restore.images.contact_sheet import grid_sheet

_CELL = 256
_PANEL, _EDGE = 320, 44
_INK, _PALE, _PAPER = (30, 30, 30), (200, 200, 200), (255, 255, 255)
_POINTS = ((31, 119, 180), (214, 90, 30), (44, 140, 60), (150, 60, 160), (120, 120, 40))


def face_sheet(pictures: Mapping[str, Sequence[np.ndarray]], columns: Sequence[str]) -> Image.Image:
    """One row a face, one column a label of `pictures` (uint8 RGB [s,s,3]), in cells of 256 px."""
    rows = len(pictures[columns[0]])
    cells = [_cell(pictures[label][row]) for row in range(rows) for label in columns]
    return grid_sheet(cells, [label for _ in range(rows) for label in columns], len(columns))


def calibration_plot(sets: Mapping[str, tuple[Tensor, Tensor]]) -> Image.Image:
    """Six panels, truth across and estimate up, of named sets (truth [n,6], estimates [n,6]).

    A colour a set; the gray line is where they are equal.
    """
    names = list(sets)
    plot = Image.new("RGB", (3 * _PANEL, 2 * _PANEL + 24), _PAPER)
    pen, font = ImageDraw.Draw(plot), ImageFont.load_default(size=12)
    for i, (heading, unit, factor) in enumerate(PARAMETERS.values()):
        corner = ((i % 3) * _PANEL, (i // 3) * _PANEL)
        values = [(t[:, i] * factor, e[:, i] * factor) for t, e in sets.values()]
        _panel(pen, font, corner, f"{heading} ({unit})", values)
    x = _EDGE
    for name, colour in zip(names, _cycle(len(names)), strict=True):
        pen.ellipse((x, 2 * _PANEL + 6, x + 8, 2 * _PANEL + 14), fill=colour)
        pen.text((x + 12, 2 * _PANEL + 3), name, fill=_INK, font=font)
        x += 28 + int(pen.textlength(name, font=font))
    return plot


def _panel(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    corner: tuple[int, int],
    title: str,
    values: Sequence[tuple[Tensor, Tensor]],
) -> None:
    both = np.concatenate([np.concatenate([t.numpy(), e.numpy()]) for t, e in values])
    low, high = float(both.min()), float(both.max())
    span = max(high - low, 1e-3)
    low, span = low - 0.04 * span, 1.08 * span
    left, top = corner[0] + _EDGE, corner[1] + 24
    side = _PANEL - _EDGE - 12
    bottom = top + side - 24
    height = bottom - top

    def place(truth: float, estimate: float) -> tuple[float, float]:
        return left + (truth - low) / span * side, bottom - (estimate - low) / span * height

    pen.line([place(low, low), place(low + span, low + span)], fill=_PALE, width=2)
    pen.rectangle((left, top, left + side, bottom), outline=_INK)
    pen.text((left, top - 18), title, fill=_INK, font=font)
    for share in (0.0, 0.5, 1.0):
        value = low + (0.04 + 0.92 * share) * span
        x, y = place(value, value)
        text = f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
        wide = pen.textlength(text, font=font)
        pen.text((x - share * wide, bottom + 3), text, fill=_INK, font=font)
        pen.text((left - 4 - wide, y - 7), text, fill=_INK, font=font)
    for (truths, estimates), colour in zip(values, _cycle(len(values)), strict=True):
        for truth, estimate in zip(truths.tolist(), estimates.tolist(), strict=True):
            x, y = place(truth, estimate)
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)


def _cycle(count: int) -> list[tuple[int, int, int]]:
    return [_POINTS[i % len(_POINTS)] for i in range(count)]


def _cell(picture: np.ndarray) -> np.ndarray:
    if picture.shape[0] == _CELL:
        return picture
    shrink = picture.shape[0] > _CELL
    mode = cv2.INTER_AREA if shrink else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, (_CELL, _CELL), interpolation=mode))
