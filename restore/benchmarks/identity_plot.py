"""Curves of cosines of one person and of two, one panel a condition."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_WIDE, _HIGH, _EDGE = 300, 170, 28
_INK, _PALE, _PAPER = (40, 40, 40), (205, 205, 205), (255, 255, 255)
_SAME, _OTHER = (31, 119, 180), (214, 90, 30)


def cosine_plot(
    panels: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]], threshold: float
) -> Image.Image:
    """`panels`: title -> (cosines of one person, of two); the line is the threshold."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    plot = Image.new("RGB", (columns * _WIDE, rows * (_HIGH + 40) + 24), _PAPER)
    pen, font = ImageDraw.Draw(plot), ImageFont.load_default(size=12)
    for i, (title, (same, different)) in enumerate(panels.items()):
        left, top = (i % columns) * _WIDE + _EDGE, (i // columns) * (_HIGH + 40) + 20
        _panel(pen, font, (left, top), title, same, different, threshold)
    y = rows * (_HIGH + 40) + 4
    x = float(_EDGE)
    for text, colour in (("one person", _SAME), ("two persons", _OTHER), ("threshold", _INK)):
        pen.rectangle((x, y + 4, x + 12, y + 10), fill=colour)
        pen.text((x + 18, y), text, fill=_INK, font=font)
        x += 42 + pen.textlength(text, font=font)
    return plot


def _panel(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    corner: tuple[int, int],
    title: str,
    same: NDArray[np.floating],
    different: NDArray[np.floating],
    threshold: float,
) -> None:
    left, top = corner
    wide, high = _WIDE - _EDGE - 12, _HIGH - 16
    bins = np.linspace(-0.4, 1.0, 71)

    def across(value: float) -> float:
        return left + (value + 0.4) / 1.4 * wide

    pen.text((left, top - 18), title, fill=_INK, font=font)
    for value in (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0):
        pen.line([(across(value), top), (across(value), top + high)], fill=_PALE)
        pen.text((across(value) - 10, top + high + 3), f"{value:g}", fill=_INK, font=font)
    curves = [np.histogram(values, bins, density=True)[0] for values in (same, different)]
    highest = max(float(curve.max()) for curve in curves)
    middles = (bins[1:] + bins[:-1]) / 2
    for curve, colour in zip(curves, (_SAME, _OTHER), strict=True):
        line = [
            (across(float(x)), top + high * (1 - float(y) / highest))
            for x, y in zip(middles, curve, strict=True)
        ]
        pen.line(line, fill=colour, width=2)
    pen.line([(across(threshold), top), (across(threshold), top + high)], fill=_INK)
    pen.line([(left, top + high), (left + wide, top + high)], fill=_INK)
