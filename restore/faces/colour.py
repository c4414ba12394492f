"""Colour and grain of a pasted face: low frequencies matched, the photo's tone, its grain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.align import Image, Mask, grid_bounds, invert, warp

FloatImage = NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, of red, green and blue."""

LUMA_SIGMA, CHROMA_SIGMA = 0.08, 0.025
"""Shares of the crop's side above whose scale luma and colour differences are the photo's."""

_FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


def to_unit(image: Image) -> FloatImage:
    """uint8, uint16 or float32 image as float32 in 0..1 (float32 is taken to be there already)."""
    if image.dtype.name not in _FULL_SCALE:
        raise InputError(f"an image of {image.dtype} was given; expected uint8, uint16 or float32")
    return np.multiply(image, np.float32(1 / _FULL_SCALE[image.dtype.name]), dtype=np.float32)


def from_unit(image: FloatImage, dtype: np.dtype[np.generic]) -> Image:
    """float32 in 0..1 as uint8 or uint16, rounded and clipped, or float32 as it is."""
    if dtype.name == "float32":
        return image
    full = _FULL_SCALE[dtype.name]
    found: Image = np.clip(np.rint(image * np.float32(full)), 0, full).astype(dtype)
    return found


def low_frequencies(image: FloatImage, sigma: float) -> FloatImage:
    """Gaussian average of sigma px of a float32 image [h,w] or [h,w,c], at a reduced size."""
    height, width = image.shape[:2]
    step = max(int(sigma / 4), 1)  # at a quarter of sigma a pixel still samples the blur finely
    small_size = (max(round(width / step), 1), max(round(height / step), 1))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(
        small, (0, 0), max(sigma * small_size[0] / width, 1e-3), borderType=cv2.BORDER_REFLECT
    )
    out = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return out.reshape(image.shape).astype(np.float32, copy=False)


def match_low_frequency(
    restored: Image,
    reference: Image,
    sigma: float | None = None,
    chroma_sigma: float | None = None,
) -> FloatImage:
    """The restored crop with the reference's tones and colours at the scales it can be trusted at.

    restored, reference: [h,w,c] of one shape, uint8, uint16 or float32 in 0..1; returns float32,
    about 0..1, not clipped. sigma in px, of the luma: default 0.08 of the crop's side, wide enough
    that a feature (eye, mouth) keeps its own tones and narrow enough to follow the light across a
    cheek. chroma_sigma, of the colour differences: default 0.025 of the side, so that lips and eyes
    have the photo's colour and not the network's; infinity leaves the network's colours alone.
    """
    if restored.shape != reference.shape:
        raise InputError(
            f"a restored crop {restored.shape} cannot take its colours from {reference.shape}; "
            "expected equal shapes"
        )
    side = max(restored.shape[:2])
    sigma = LUMA_SIGMA * side if sigma is None else sigma
    chroma_sigma = CHROMA_SIGMA * side if chroma_sigma is None else chroma_sigma
    if sigma <= 0 or chroma_sigma <= 0:
        raise InputError(f"sigma is {sigma} and {chroma_sigma}; expected positive numbers of px")
    out = to_unit(restored)
    missing = to_unit(reference) - out
    if out.ndim == 2 or out.shape[2] != 3:
        return out + low_frequencies(missing, sigma)
    luma = np.asarray(missing @ LUMA, np.float32)
    change = np.repeat(low_frequencies(luma, sigma)[..., None], 3, axis=2)
    if not np.isinf(chroma_sigma):
        chroma = np.asarray(missing - luma[..., None], np.float32)
        change += low_frequencies(chroma, chroma_sigma)
    return out + change


_BINS = 24
_LOOSEST = 0.012  # of 0..1: 3 of 255. Least spread of 64 colour faces: 0.016 (benchmark "trust")
_LOOSEST_AROUND = 0.024  # toned prints with stains reach 0.017; a tinted print's clothes 0.031
_SMOOTH = 1.2  # bins: tones next to each other are alike


@dataclass(frozen=True, eq=False)
class ToneCurve:
    """Chroma as a function of luma: what a gray, sepia or otherwise toned photo is made of.

    chroma: [bins,2] float32, mean B - Y and R - Y at each luma of 0..1. spread: standard deviation
    of the photo's chroma around it; what is left is noise, or colour. around: the same of all of
    the crop around its own curve: a pale face in coloured clothes is no monochrome photo.
    """

    chroma: NDArray[np.float32]
    spread: float
    around: float = 0.0

    @property
    def gray(self) -> bool:
        """Whether the photo has no tone at all."""
        return not self.chroma.any()

    @property
    def monochrome(self) -> bool:
        """Whether one tone explains the photo, so that colours in it would be invented."""
        return self.spread <= _LOOSEST and self.around <= _LOOSEST_AROUND

    def apply(self, face: FloatImage) -> FloatImage:
        """A face [h,w,3] RGB float32 in about 0..1 with its luma and this tone's chroma.

        Of a gray photo's curve R = G = B exactly.
        """
        luma = face @ LUMA
        if self.gray:
            return np.repeat(luma[..., None], 3, axis=2)
        centres = (np.arange(_BINS, dtype=np.float32) + 0.5) / _BINS
        blue, red = (np.interp(luma, centres, self.chroma[:, k]) for k in (0, 1))
        blue, red = blue.astype(np.float32), red.astype(np.float32)
        green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
        return np.stack([luma + red, luma + green, luma + blue], axis=2)


def tone_curve(crop: Image, inside: NDArray[np.bool_] | None = None) -> ToneCurve:
    """Fit the curve to a crop [h,w,3], RGB uint8, uint16 or float32 in 0..1.

    inside: [h,w], the pixels that count (default all). The chroma is smoothed first over 1/64 of
    the side: JPEG's chroma noise is no colour.
    """
    unit = to_unit(crop)
    if (unit[..., 0] == unit[..., 1]).all() and (unit[..., 1] == unit[..., 2]).all():
        return ToneCurve(np.zeros((_BINS, 2), np.float32), 0.0)
    around = 0.0 if inside is None else tone_curve(crop).spread
    luma = unit @ LUMA
    chroma = np.stack([unit[..., 2] - luma, unit[..., 0] - luma], axis=2)
    sigma = max(crop.shape[:2]) / 64
    chroma, luma = low_frequencies(chroma, sigma), low_frequencies(luma, sigma)
    if inside is not None and inside.any():
        luma, chroma = luma[inside], chroma[inside]
    luma, chroma = luma.ravel(), chroma.reshape(-1, 2)
    where = np.clip((luma * _BINS).astype(np.int64), 0, _BINS - 1)
    count = np.bincount(where, minlength=_BINS).astype(np.float64)
    totals = [np.bincount(where, chroma[:, k], _BINS).astype(np.float64) for k in (0, 1)]
    means = [_filled(total, count) for total in totals]
    curve = np.stack(means, axis=1).astype(np.float32)
    left = chroma - curve[where]
    return ToneCurve(curve, float(np.sqrt((left**2).mean(0).sum())), around)


def _filled(total: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the bins, smoothed along the tones; bins without pixels take their neighbours'."""
    # The second, wide weight decides only where no pixels are near.
    distance = np.abs(np.arange(_BINS)[:, None] - np.arange(_BINS)[None])
    near = np.exp(-0.5 * (distance / _SMOOTH) ** 2) + 1e-6 * np.exp(-distance / 2.0)
    weights = near * count[None]
    return np.asarray((near @ total) / np.maximum(weights.sum(1), 1e-12))


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
