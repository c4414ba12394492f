"""Pasting restored crops into a photo: overlaps, seams, the photo's own detail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.align import (
    Image,
    Mask,
    compose,
    grid_bounds,
    invert,
    shifted,
    warp,
)
from restore.faces.colour import FloatImage, from_unit, to_unit
from restore.faces.quality import FaceQuality

_RATIO = (1.15, 1.5)  # px of the photo per px of the crop where there begins to be such detail
_NOISE = (3.0, 9.0)  # standard deviation in the photo's own pixels, 0..255
_BLUR = (2.4, 4.0)  # px of the crop: what is blurred there holds only noise above it
_BLOCKS = (0.2, 0.6)


def detail_trust(ratio: float, quality: FaceQuality) -> float:
    """Share in [0,1] of the photo's high frequencies that go back on top of a restored face.

    ratio: px of the photo per px of the crop; up to 1.15 there is nothing above the crop's
    resolution. quality: measured on the crop, so the photo's own noise is `ratio` times larger.
    The share falls to 0 with noise, blur and JPEG blocks: those are what restoring is to remove.
    """
    falling = (
        _ramp(quality.noise * max(ratio, 1.0), *_NOISE),
        _ramp(quality.blur, *_BLUR),
        _ramp(quality.blocks, *_BLOCKS),
    )
    share = _ramp(ratio, *_RATIO)
    for ramp in falling:
        share *= 1 - ramp
    return share


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to low, 1 from high on."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


_STRIP_PIXELS = 1 << 20  # canvas pixels blended at a time: bounds the memory of a face of any size
_OWNERSHIP = 4.0  # power of a mask where faces overlap: the face in whose middle a pixel lies wins

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Patch:
    """A restored crop and where it goes.

    restored: [s,s,3] uint8, uint16 or float32 in 0..1, RGB; None for a face that stays as the
    canvas shows it, and is only kept from being painted over by its neighbours. matrix: [2,3]
    canvas -> crop, from `align_face`, through `scale_matrix` when the canvas is a resized photo.
    mask: [s,s] float32 in 0..1. crop: what went in, [s,s,3], or None. detail: share in [0,1] of
    what the canvas shows and the crop cannot (the frequencies above its resolution) that goes back
    on top of the face.
    """

    restored: Image | None
    matrix: NDArray[np.float64]
    mask: Mask
    crop: Image | None = None
    detail: float = 0.0


def paste_face(
    canvas: Image,
    restored: Image,
    matrix: NDArray[np.float64],
    mask: Mask,
    *,
    crop: Image | None = None,
    detail: float = 0.0,
) -> Image:
    """Blends one restored crop into the canvas IN PLACE and returns the same array.

    canvas: [h,w], [h,w,1], [h,w,3] or [h,w,4] (alpha untouched), uint8, uint16 or float32 in 0..1,
    owned by the caller and writable. The other arguments: see Patch. Only pixels with a mask above
    0 are written; the blend is in float32.
    """
    return paste_faces(canvas, [Patch(restored, matrix, mask, crop, detail)])


def paste_faces(canvas: Image, patches: Sequence[Patch]) -> Image:
    """Blends restored crops into the canvas IN PLACE; the order of the patches plays no part.

    Where masks m_i overlap, a pixel is (1 - max m) canvas + max m * sum w_i face_i with w_i
    proportional to m_i ** 4, so neither face is painted over by the rim of the other's crop. A face
    without a restored crop takes part with the canvas itself, and not in max m.
    """
    _check_canvas(canvas)
    ready = [_ready(patch) for patch in patches]
    boxes = [_region(canvas, patch.matrix, patch.mask) for patch in ready]
    for group in _overlapping(boxes):
        if all(ready[i].restored is None for i, _ in group):
            continue
        x0, y0, x1, y1 = _union([box for _, box in group])
        rows = max(_STRIP_PIXELS // (x1 - x0), 16)
        for top in range(y0, y1, rows):
            strip = (x0, top, x1, min(top + rows, y1))
            parts = [(ready[i], _common(box, strip)) for i, box in group]
            _blend(canvas, [(patch, part) for patch, part in parts if part[1] < part[3]])
    return canvas


def _check_canvas(canvas: Image) -> None:
    shape_ok = canvas.ndim == 2 or (canvas.ndim == 3 and canvas.shape[2] in (1, 3, 4))
    if not shape_ok or canvas.dtype.name not in ("uint8", "uint16", "float32"):
        raise InputError(
            f"canvas {canvas.shape} {canvas.dtype}; expected [h,w] or [h,w,1|3|4] in uint8, uint16 "
            "or float32"
        )
    if not canvas.flags.writeable:
        raise InputError("the canvas is read-only; give a copy, the paste writes in place")


def _ready(patch: Patch) -> Patch:
    matrix = np.asarray(patch.matrix, np.float64)
    if patch.restored is None:
        return Patch(None, matrix, patch.mask.astype(np.float32))
    if patch.restored.ndim != 3 or patch.restored.shape[:2] != patch.mask.shape:
        raise InputError(
            f"restored crop {patch.restored.shape} and mask {patch.mask.shape}; expected [s,s,3] "
            "and [s,s]"
        )
    if patch.detail and (patch.crop is None or patch.crop.shape != patch.restored.shape):
        raise InputError(
            f"detail is what the crop does not hold: give the crop that went in, of the restored "
            f"one's shape {patch.restored.shape}"
        )
    crop = to_unit(patch.crop) if patch.detail and patch.crop is not None else None
    return Patch(to_unit(patch.restored), matrix, patch.mask.astype(np.float32), crop, patch.detail)


def _region(canvas: Image, matrix: NDArray[np.float64], mask: Mask) -> Box | None:
    """Canvas pixels that the crop's non-zero mask can reach, or None when it lies outside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    # The mask's own bounds are a smaller grid inside the crop.
    inner = compose(shifted(-columns[0], -rows[0]), matrix)
    low_x, low_y, high_x, high_y = grid_bounds(
        inner, int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
    )
    x0, y0 = max(math.floor(low_x) - 1, 0), max(math.floor(low_y) - 1, 0)
    x1 = min(math.ceil(high_x) + 2, canvas.shape[1])
    y1 = min(math.ceil(high_y) + 2, canvas.shape[0])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _common(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _union(boxes: Sequence[Box]) -> Box:
    low_x, low_y, high_x, high_y = zip(*boxes, strict=True)
    return min(low_x), min(low_y), max(high_x), max(high_y)


def _overlapping(boxes: Sequence[Box | None]) -> list[list[tuple[int, Box]]]:
    """Groups of patches, (index, box), whose boxes overlap, directly or through others."""
    group_of: dict[int, int] = {}
    groups: dict[int, list[tuple[int, Box]]] = {}
    reached: list[tuple[int, Box]] = []  # boxes that the sweep from left to right is still within
    present = [(i, box) for i, box in enumerate(boxes) if box is not None]
    for i, box in sorted(present, key=lambda one: one[1][0]):
        reached = [(j, other) for j, other in reached if other[2] > box[0]]
        group_of[i], groups[i] = i, [(i, box)]
        for other in {group_of[j] for j, near in reached if _meet(box, near)}:
            # the smaller group joins the larger one
            less, more = sorted((other, group_of[i]), key=lambda name: len(groups[name]))
            for member in groups[less]:
                group_of[member[0]] = more
            groups[more] += groups.pop(less)
        reached.append((i, box))
    return [sorted(group, key=lambda one: one[0]) for group in groups.values()]


def _blend(canvas: Image, parts: Sequence[tuple[Patch, Box]]) -> None:
    """Blend the patches of a strip, each warped over its own part of it alone."""
    if not parts:
        return
    x0, y0, x1, y1 = _union([part for _, part in parts])
    view = canvas[y0:y1, x0:x1]
    target = view[..., None] if view.ndim == 2 else view[..., :3]
    old = to_unit(target)
    total = np.zeros(old.shape[:2], np.float32)
    strongest = np.zeros(old.shape[:2], np.float32)
    colours = np.zeros(old.shape, np.float32)
    for patch, part in parts:
        here = slice(part[1] - y0, part[3] - y0), slice(part[0] - x0, part[2] - x0)
        width, height = part[2] - part[0], part[3] - part[1]
        to_part = compose(shifted(-part[0], -part[1]), invert(patch.matrix))
        mask = np.clip(warp(patch.mask, to_part, width, height, "constant"), 0, 1)
        if not mask.any():
            continue
        if patch.restored is None:
            face = old[here]
        else:
            face = _as_canvas(warp(patch.restored, to_part, width, height, "replicate"), canvas)
            np.maximum(strongest[here], mask, out=strongest[here])
        if patch.crop is not None:
            known = _as_canvas(warp(patch.crop, to_part, width, height, "replicate"), canvas)
            face = face + np.float32(patch.detail) * (old[here] - known)
        share = np.power(mask, _OWNERSHIP, dtype=np.float32)
        total[here] += share
        colours[here] += face * share[..., None]
    touched = strongest > 0
    colours /= np.maximum(total, np.float32(1e-30))[..., None]
    blended = from_unit(old + (colours - old) * strongest[..., None], canvas.dtype)
    np.copyto(target, blended, where=touched[..., None])


def _as_canvas(face: FloatImage, canvas: Image) -> FloatImage:
    """The face with the colour channels of the canvas: a gray canvas takes its luma."""
    channels = 1 if canvas.ndim == 2 else min(canvas.shape[2], 3)
    if face.shape[2] == channels:
        return face
    if face.shape[2] == 1:
        return np.repeat(face, channels, axis=2)
    return np.ascontiguousarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None])
