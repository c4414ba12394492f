"""Scenes put together from portraits: a group, framed pictures on a wall, an album page, prints."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError

Picture = NDArray[np.float32]
"""RGB [h,w,3] float32 in 0..1."""


def resized(picture: Picture, width: int, height: int | None = None) -> Picture:
    """A picture at another size in px, without `height` in its own shape; shrinking averages."""
    if height is None:
        height = max(1, round(width * picture.shape[0] / picture.shape[1]))
    size = (width, height)
    shrink = size[0] < picture.shape[1]
    result = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    return np.clip(result, 0, 1).astype(np.float32)


def group(portraits: Sequence[Picture], height: int, overlap: float = 0.3) -> Picture:
    """People side by side: portraits [s,s,3], each laid over the one before it.

    Neighbours share `overlap` of their width; the border runs where the two pictures differ least
    (the seam of Efros and Freeman's image quilting, 2001) and is feathered.
    """
    if not portraits:
        raise InputError("a group needs one portrait or more, got none")
    shared = round(height * overlap)
    scene = resized(portraits[0], height)
    for portrait in portraits[1:]:
        other = resized(portrait, height)
        left, right = scene[:, -shared:], other[:, :shared]
        weight = _seam_weight(np.square(left - right).sum(2), feather=height / 60)
        blended = left * (1 - weight) + right * weight
        scene = np.concatenate([scene[:, :-shared], blended, other[:, shared:]], axis=1)
    return scene


def _seam_weight(cost: NDArray[np.float32], feather: float) -> Picture:
    """Weight [h,w,1] of the right picture: 0 left of the cheapest path downwards, then 1."""
    height, width = cost.shape
    # Heads stand at the outer sides of the overlap, so a seam near its middle is preferred.
    aside = np.abs(np.linspace(-1, 1, width)) ** 4
    total = cost + 0.5 * aside.astype(np.float32) + 1e-3
    for row in range(1, height):
        before = np.pad(total[row - 1], 1, constant_values=np.inf)
        total[row] += np.minimum(np.minimum(before[:-2], before[1:-1]), before[2:])
    path = np.empty(height, np.int64)
    path[-1] = int(np.argmin(total[-1]))
    for row in range(height - 2, -1, -1):
        low = max(path[row + 1] - 1, 0)
        path[row] = low + int(np.argmin(total[row, low : path[row + 1] + 2]))
    hard = (np.arange(width)[None] >= path[:, None]).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(hard, (0, 0), feather), np.float32)[:, :, None]


def plain_wall(width: int, height: int, color: Sequence[float], seed: int) -> Picture:
    """A wall or card: one colour in 0..1, lit from the upper left, with a little relief."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = 1.06 - 0.22 * (x / width * 0.6 + y / height * 0.4)
    relief = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.5)
    wall = np.asarray(color, np.float32) * (light + 0.03 * relief)[:, :, None]
    return np.clip(wall, 0, 1).astype(np.float32)


def framed(picture: Picture, mat: int, frame: int, color: Sequence[float]) -> Picture:
    """A picture behind a white mat of `mat` px, in a wooden frame of `frame` px."""
    inner = _bordered(picture, mat, (0.94, 0.93, 0.9))
    # the bevel of the mat: a thin shade around the picture
    height, width = picture.shape[:2]
    cv2.rectangle(inner, (mat - 2, mat - 2), (mat + width + 1, mat + height + 1), (0.75,) * 3, 2)
    outer = _bordered(inner, frame, color)
    steps = np.minimum.outer(_to_border(outer.shape[0]), _to_border(outer.shape[1]))
    edge = np.clip(steps / frame, 0, 1)
    rounded = np.where(edge < 1, 0.65 + 0.6 * np.sin(np.pi * edge), 1).astype(np.float32)
    return np.clip(outer * rounded[:, :, None], 0, 1).astype(np.float32)


def _to_border(length: int) -> NDArray[np.float32]:
    steps = np.arange(length, dtype=np.float32)
    return np.minimum(steps, steps[::-1])


def print_of(picture: Picture, border: int, tint: Sequence[float] = (0.96, 0.95, 0.91)) -> Picture:
    """A photographic print: the picture inside a white border of `border` px."""
    return _bordered(picture, border, tint)


def _bordered(picture: Picture, border: int, color: Sequence[float]) -> Picture:
    """A picture inside a border of `border` px in one colour."""
    sides = (border, border, border, border)
    outer = cv2.copyMakeBorder(picture, *sides, cv2.BORDER_CONSTANT, value=tuple(color))
    return np.asarray(outer, np.float32)


def oval_mask(height: int, width: int, feather: float) -> Picture:
    """[h,w,1]: 1 inside the ellipse that nearly fills the rectangle, down to 0 over `feather`."""
    y = (np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1
    x = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
    radius = np.sqrt(y[:, None] ** 2 + x[None] ** 2)
    return np.clip((0.97 - radius) / feather, 0, 1)[:, :, None].astype(np.float32)


def vignette(picture: Picture, card: Picture, feather: float = 0.25) -> Picture:
    """A picture that fades in an oval into the middle of a card of the same size or larger."""
    height, width = picture.shape[:2]
    top, left = (card.shape[0] - height) // 2, (card.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise InputError(f"picture {width} x {height} does not fit a card {card.shape[1::-1]}")
    result = card.copy()
    inside = result[top : top + height, left : left + width]
    mask = oval_mask(height, width, feather)
    result[top : top + height, left : left + width] = inside * (1 - mask) + picture * mask
    return result


def lay(scene: Picture, picture: Picture, centre: tuple[float, float], degrees: float) -> Picture:
    """A scene with a picture laid on it, turned about its centre (px), with a soft shadow."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    turn[:, 2] += np.array(centre) - ((width - 1) / 2, (height - 1) / 2)
    size = (scene.shape[1], scene.shape[0])
    cover = np.pad(np.ones((height - 2, width - 2), np.float32), 1)
    alpha = cv2.warpAffine(cover, turn, size, flags=cv2.INTER_LINEAR)
    laid = cv2.warpAffine(
        picture, turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    depth = max(2.0, width / 60)
    drop = np.array([[1, 0, depth], [0, 1, depth * 1.3]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, drop, size), (0, 0), depth)
    shaded = scene * (1 - 0.45 * shadow[:, :, None])
    mixed = shaded * (1 - alpha[:, :, None]) + laid * alpha[:, :, None]
    return np.clip(mixed, 0, 1).astype(np.float32)
