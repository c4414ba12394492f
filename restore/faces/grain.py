"""Grain: a restored face gets the noise of its surroundings, so that it does not look pasted in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.faces.colour import LUMA, FloatImage, from_unit, to_unit
from restore.faces.mask import Mask
from restore.faces.warp import Image, grid_bounds, invert, warp

_TILE = 24  # px: holds grain of up to a dozen px, as an enlarged photo has it
_FLATTEST = (0.05, 0.45)  # tiles by their variance: below, dust-free black; above, structure
_REACH = 0.25  # how far beyond the crop the surroundings go, of its side
_MOST_TILES = 400


@dataclass(frozen=True, eq=False)
class GrainSpectrum:
    """Power of the luma noise [tile,tile] at each frequency (numpy's FFT order); mean = variance.

    Luma is 0..1. `tiles`: how many flat places it was measured at.
    """

    power: NDArray[np.float64]
    tiles: int

    @property
    def sigma(self) -> float:
        """Standard deviation in 0..255."""
        return float(np.sqrt(self.power.mean())) * 255


def measure_grain(luma: FloatImage, where: NDArray[np.bool_]) -> GrainSpectrum | None:
    """Spectrum of the noise in the flat parts of `where`; luma, where: [h,w]. None of too few."""
    tiles = _tiles(luma, where)
    if len(tiles) < 4:
        return None
    window = np.outer(np.hanning(_TILE + 2)[1:-1], np.hanning(_TILE + 2)[1:-1])
    flat = np.stack([_detrended(tile) for tile in tiles])
    order = np.argsort(flat.var((1, 2)))
    low, high = (round(share * len(order)) for share in _FLATTEST)
    chosen = flat[order[low : max(high, low + 4)]] * window
    power = (np.abs(np.fft.fft2(chosen)) ** 2).mean(0) / (window**2).sum()
    power[0, 0] = 0.0  # the window lets a little of the mean through
    return GrainSpectrum(power, len(chosen))


def synthesise_grain(
    power: NDArray[np.float64], height: int, width: int, random: np.random.Generator
) -> FloatImage:
    """Gaussian noise [height,width] float32 with that power spectrum [tile,tile]."""
    # The kernel whose transfer function is the root of the power, centred, without phase.
    kernel = np.fft.fftshift(np.fft.ifft2(np.sqrt(np.maximum(power, 0))).real)
    white = random.standard_normal((height, width), np.float32)
    return np.asarray(
        cv2.filter2D(white, cv2.CV_32F, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT)
    )


def add_grain(
    canvas: Image,
    before: Image,
    places: Sequence[tuple[NDArray[np.float64], Mask]],
    random: np.random.Generator,
) -> Image:
    """Adds to each pasted face, IN PLACE, the grain that its surroundings have and it lacks.

    canvas: [h,w], [h,w,1|3|4] after the paste, before: the same before it, uint8, uint16 or float32
    in 0..1. places: for each face its matrix [2,3] canvas -> crop and its mask [s,s]. The grain is
    one of brightness: all channels get the same. Faces that have as much grain already are left.
    """
    for matrix, mask in places:
        region = _region(canvas, matrix, mask.shape[0])
        if region is None:
            continue
        rows, columns = region
        x0, y0 = columns.start, rows.start
        height, width = rows.stop - y0, columns.stop - x0
        back = invert(matrix) - np.array([[0, 0, x0], [0, 0, y0]])
        cover = np.clip(warp(mask, back, width, height, "constant"), 0, 1)
        old, new = _luma(before[rows, columns]), _luma(canvas[rows, columns])
        # A face that fills the photo has no surroundings: its own former grain stands in.
        around = measure_grain(old, cover < 0.02) or measure_grain(old, cover > 0.9)
        inside = measure_grain(new, cover > 0.9)
        if around is None:
            continue
        missing = around.power - (0 if inside is None else inside.power)
        if missing.mean() <= 0:
            continue
        grain = synthesise_grain(missing, height, width, random) * cover
        view = canvas[rows, columns]
        target = view[..., None] if view.ndim == 2 else view[..., :3]
        touched = np.broadcast_to((cover > 0)[..., None], target.shape)
        np.copyto(
            target, from_unit(to_unit(target) + grain[..., None], canvas.dtype), where=touched
        )
    return canvas


def _region(canvas: Image, matrix: NDArray[np.float64], side: int) -> tuple[slice, slice] | None:
    x0, y0, x1, y1 = grid_bounds(matrix, side, side)
    margin = _REACH * max(x1 - x0, y1 - y0)
    left, top = max(int(x0 - margin), 0), max(int(y0 - margin), 0)
    right = min(int(x1 + margin) + 1, canvas.shape[1])
    bottom = min(int(y1 + margin) + 1, canvas.shape[0])
    if right - left < 1 or bottom - top < 1:
        return None
    return slice(top, bottom), slice(left, right)


def _luma(image: Image) -> FloatImage:
    unit = to_unit(image)
    if unit.ndim == 2 or unit.shape[2] == 1:
        return unit.reshape(unit.shape[:2])
    return np.ascontiguousarray(unit[..., :3] @ LUMA)


def _tiles(luma: FloatImage, where: NDArray[np.bool_]) -> list[FloatImage]:
    height, width = luma.shape
    found = []
    for y in range(0, height - _TILE + 1, _TILE // 2):
        for x in range(0, width - _TILE + 1, _TILE // 2):
            if where[y : y + _TILE, x : x + _TILE].all():
                found.append(luma[y : y + _TILE, x : x + _TILE])
    return found[:: max(len(found) // _MOST_TILES, 1)]


def _detrended(tile: FloatImage) -> NDArray[np.float64]:
    """The tile without its mean and slopes."""
    steps = np.arange(_TILE) - (_TILE - 1) / 2
    squares = (steps**2).sum() * _TILE
    out = tile.astype(np.float64) - tile.mean()
    slope_x, slope_y = (out * steps).sum() / squares, (out * steps[:, None]).sum() / squares
    return np.asarray(out - slope_x * steps - slope_y * steps[:, None])
