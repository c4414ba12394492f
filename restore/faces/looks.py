"""Whether the photo's own pixels of a face are damaged: their statistics, and the odds of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import CheckpointError
from restore.faces.align import compose, face_mask, invert, matrix_scale, resized, shifted, warp
from restore.faces.colour import LUMA
from restore.model_files import map_array, read_header

Plane = NDArray[np.floating]
Where = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

PACKAGED = Path(__file__).parents[1] / "weights" / "looks.safetensors"
_MASK = 64  # px of the mask that is laid over the photo
_LEAST = 8  # px of the face's box, below which nothing is measured
_WIDEST = 768  # px of the part of a face that grids of blocks are looked for in
_STEEPEST = 24.0  # steps are cut here, so that a few edges do not drown the blocks
_SECOND = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
_ACROSS = np.array([[1, -2, 1]], np.float32)
_FALLING = np.diag([1.0, -2.0, 1.0]).astype(np.float32)
_LINE, _TURNS = 11, 8  # px and directions of the lines that scratches are looked for along
_SPOT = 14.0  # levels by which a thin thing stands out
_EMPTY = (float(np.log(0.3)), float(np.log(0.3)), float(np.log(0.03)))

_BINS = 4096  # of the spectrum of a profile
_HARMONICS = 5
_CHANCE = 5.0  # power of a single bin, whose mean is 1


def _harmonics() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For periods of 3.5 to 26 px, evenly in their logarithm: the bins of their harmonics up to
    half of the sampling frequency (unused ones point at a zero), and how many there are."""
    periods = np.exp(np.linspace(np.log(3.5), np.log(26.0), 160))
    periods = np.append(periods, 8.0)
    count = np.minimum((periods / 2).astype(int), _HARMONICS)
    order = np.arange(1, _HARMONICS + 1)
    bins = np.minimum(np.rint(order * _BINS / periods[:, None]).astype(int), _BINS // 2)
    return np.where(order <= count[:, None], bins, _BINS // 2 + 1), count.astype(np.float64)


_HARMONIC_BINS, _HARMONIC_COUNT = _harmonics()


def face_looks(
    photo: Bytes, matrix: NDArray[np.floating], size: int, template: NDArray[np.floating]
) -> tuple[NDArray[np.float32] | None, float]:
    """Statistics [n] float32 of a face's pixels in the photo, and the noise of its colours, 0..255.

    photo: RGB uint8 [h,w,3]; matrix: [2,3], photo -> crop of `size` px; template: [5,2], landmarks
    in that crop. Nothing is turned or enlarged: all is measured along the photo's own axes. A face
    larger than the crop is averaged down to its size first, as what it holds beyond is no concern
    of the network, but for equal neighbours, which are the photo's.
    None where there is too little of the face.
    """
    part = _part(photo, matrix, size, template)
    if part is None:
        return None, 0.0
    native, native_inside = part
    scale = matrix_scale(matrix)
    box, inside = native, native_inside
    if scale < 1 / 1.02:
        width, height = (max(round(n * scale), _LEAST) for n in (box.shape[1], box.shape[0]))
        box = np.asarray(cv2.resize(box, (width, height), interpolation=cv2.INTER_AREA))
        small = cv2.resize(
            inside.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        inside = small > 0
    inner = _eroded(inside)
    if not inner.any():
        return None, 0.0
    rgb = box.astype(np.float32)
    luma = np.ascontiguousarray(rgb @ LUMA)
    chroma = np.stack([rgb[..., 2] - luma, rgb[..., 0] - luma], axis=-1) * np.float32(0.6)
    found = [float(np.log2(min(size / scale, size) / 128))]
    textures, colour_noise = _texture(luma, chroma, inside)
    found += textures
    found += _directions(luma, inner, (_ACROSS, _ACROSS.T.copy()))
    found += _edges(luma, inside)
    found += _levels(native, native_inside)
    found += _grids(box, inside)
    around = cv2.medianBlur(np.clip(np.rint(luma), 0, 255).astype(np.uint8), 5)
    found += _lines(luma - around, inner)
    found += _normalised(luma, inside)
    falling = [_quantiles(_response(luma, k)[inner]) for k in (_FALLING, _FALLING[::-1].copy())]
    found += [one[2] for one in falling] + [one[1] for one in falling]
    found += [*_peaks(luma, inside), _peaks(np.asarray(chroma.mean(-1)), inside)[0]]
    found += _thin_things(luma - around, inside)
    colour = float(np.abs(chroma[inside]).mean())
    found += [
        float(np.log(luma[inside].std() + 1)),
        float(luma[inside].mean() / 128 - 1),
        float(np.log(colour + 1)),
    ]
    return np.array(found, np.float32), colour_noise


@lru_cache(maxsize=1)
def _network() -> Mapping[str, NDArray[np.float32]]:
    if not PACKAGED.is_file():
        raise CheckpointError(f"the numbers that tell damage are missing at {PACKAGED}; reinstall")
    places = read_header(PACKAGED)["tensors"]
    return {name: np.array(map_array(PACKAGED, place)) for name, place in places.items()}


def damage_odds(looks: NDArray[np.float32]) -> float:
    """The logarithm of the odds that pixels of these statistics are damaged, from where 95 of 100
    clean photos lie below 0.

    A network of two hidden layers, which `python -m tools looks` fits to clean photos and to
    damages of them; it is small enough to be computed here. Raises CheckpointError without its
    file.
    """
    numbers = _network()
    x = np.clip((looks - numbers["mean"]) / numbers["spread"], -5, 5)
    for layer in (0, 1):
        x = np.tanh(numbers[f"weight{layer}"] @ x + numbers[f"bias{layer}"])
    return float((numbers["weight2"] @ x + numbers["bias2"])[0])


def _part(
    photo: Bytes, matrix: NDArray[np.floating], size: int, template: NDArray[np.floating]
) -> tuple[Bytes, Where] | None:
    """The photo's pixels around the face as they are, and which of them are the face."""
    share = _MASK / size
    mask = face_mask(_MASK, (np.asarray(template) + 0.5) * share - 0.5)
    back = invert(compose(resized(share, share), matrix))
    places = np.argwhere(mask > 0.5)
    if not len(places):
        return None
    (y0, x0), (y1, x1) = places.min(0), places.max(0)
    corners = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]) @ back[:, :2].T + back[:, 2]
    left, top = (max(int(np.floor(v)) - 1, 0) for v in corners.min(0))
    right = min(int(np.ceil(corners[:, 0].max())) + 2, photo.shape[1])
    bottom = min(int(np.ceil(corners[:, 1].max())) + 2, photo.shape[0])
    if right - left < _LEAST or bottom - top < _LEAST:
        return None
    here = compose(shifted(-left, -top), back)
    inside = warp(mask, here, right - left, bottom - top, "constant") > 0.5
    return photo[top:bottom, left:right], inside


def _eroded(inside: Where, px: int = 1) -> Where:
    kernel = np.ones((2 * px + 1, 2 * px + 1), np.uint8)
    return np.asarray(cv2.erode(inside.astype(np.uint8), kernel, borderValue=0) > 0)


def _halved(plane: Plane) -> Plane:
    height, width = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    plane = plane[:height, :width]
    total = plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
    return np.asarray(total / 4, np.float32)


def _half_inside(inside: Where) -> Where:
    return np.asarray(_halved(inside.astype(np.float32)) > 0.9)


def _response(plane: Plane, kernel: Plane) -> Plane:
    out = cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.abs(out), np.float32)


def _quantiles(values: Plane) -> list[float]:
    """Logarithms of the quartile, the median, the mean and the 95th percentile."""
    if not values.size:
        return [0.0] * 4
    values = values[:: max(len(values) // 6000, 1)]
    low, middle, high = np.percentile(values, [25, 50, 95])
    return [float(np.log(v + 0.15)) for v in (low, middle, values.mean(), high)]


def _texture(luma: Plane, chroma: Plane, inside: Where) -> tuple[list[float], float]:
    """Second differences of luma and colours at three scales; and the noise of the colours."""
    found, noise = [], 0.0
    for step in range(3):
        inner = _eroded(inside)
        found += _quantiles(_response(luma, _SECOND)[inner])
        colours = _response(chroma, _SECOND)[inner].mean(-1) if inner.any() else np.zeros(0)
        found += _quantiles(colours)
        if step < 2 and colours.size:
            noise = max(noise, float(np.median(colours)) / 0.6745)
        luma, chroma, inside = _halved(luma), _halved(chroma), _half_inside(inside)
    return found, noise


def _directions(luma: Plane, inner: Where, kernels: tuple[Plane, ...]) -> list[float]:
    found: list[float] = []
    for kernel in kernels:
        found += _quantiles(_response(luma, kernel)[inner])[1:]
    return found


def _edges(luma: Plane, inside: Where) -> list[float]:
    """How much steeper the strongest edges are at a scale than at twice that scale."""
    slopes = []
    for sigma in (0.6, 1.2, 2.4):
        smooth = cv2.GaussianBlur(luma, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
        slopes.append(cv2.magnitude(x, cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)))
    found = []
    for fine, coarse in itertools.pairwise(slopes):
        edges = inside & (coarse >= np.quantile(coarse[inside], 0.96))
        steeper = float(np.median(fine[edges] / np.maximum(coarse[edges], 1e-3)))
        found.append(float(np.log(max(steeper, 1e-3))))
    return found


def _levels(rgb: Bytes, inside: Where) -> list[float]:
    """Neighbours that are equal, and how many levels and colours there are."""
    across, down = inside[:, 1:] & inside[:, :-1], inside[1:] & inside[:-1]
    luma = np.rint(rgb.astype(np.float32) @ LUMA).astype(np.int16)
    equal_x = (rgb[:, 1:] == rgb[:, :-1]).all(-1)[across]
    equal_y = (rgb[1:] == rgb[:-1]).all(-1)[down]
    equal_luma = (luma[:, 1:] == luma[:, :-1])[across]
    values = luma[inside]
    low, high = np.percentile(values, [5, 95])
    counts = np.bincount(values, minlength=256)[int(low) : int(high) + 1]
    some = rgb[inside]
    some = some[:: max(len(some) // 4096, 1)].astype(np.int32)
    colours = len(np.unique(some @ np.array([1 << 16, 1 << 8, 1]))) / len(some)
    return [
        float(np.log(equal_x.mean() + 0.01)),
        float(np.log(equal_y.mean() + 0.01)),
        float(np.log(equal_luma.mean() + 0.02)),
        float(np.log((counts > counts.mean() * 0.15).mean() + 0.02)),
        float(np.log(colours + 1e-4)),
    ]


def _grids(rgb: Bytes, inside: Where) -> list[float]:
    """Per axis: steps at every 8 px, at any one period, the same of soft steps, of lines by twos.

    The period of blocks that were scaled with their photo is not 8, and their steps are soft.
    """
    luma = rgb.astype(np.float32) @ LUMA
    if max(luma.shape) > _WIDEST:
        half = _WIDEST // 2
        middle = tuple(
            slice(max(n // 2 - half, 0), n // 2 + half) for n in (luma.shape[0], luma.shape[1])
        )
        luma, inside = luma[middle], inside[middle]
    found: list[float] = []
    for a, seen in ((luma, inside), (np.ascontiguousarray(luma.T), inside.T)):
        # The step at a border beyond what its two sides would lead to: 0 on slopes.
        hard = np.abs(3 * (a[:, 2:-1] - a[:, 1:-2]) - (a[:, 3:] - a[:, :-3]))
        soft = np.abs(
            (a[:, 4:-3] - a[:, 3:-4]) * 2
            + (a[:, 5:-2] - a[:, 2:-5])
            - (a[:, 7:] - a[:, :-7]) * np.float32(0.8)
        )
        at_8, at_any, by_twos = _periods(np.minimum(hard, _STEEPEST), seen[:, 2:-1])
        soft_8, soft_any, _ = _periods(np.minimum(soft, _STEEPEST), seen[:, 4:-3])
        five = (at_8, at_any, soft_8, soft_any, by_twos)
        found += [float(np.log1p(max(value, 0.0))) for value in five]
    return found


def _periods(steps: Plane, inside: Where) -> tuple[float, float, float]:
    """How much of the profile of steps repeats every 8 px, at the best period, and by twos."""
    count = inside.sum(0)
    enough = np.flatnonzero(count >= 6)
    if len(enough) < 24:
        return 0.0, 0.0, 0.0
    profile = np.where(inside, steps, 0).sum(0) / np.maximum(count, 1)
    profile = profile[enough[0] : enough[-1] + 1].astype(np.float64)
    n = len(profile)
    width = min(31, n // 2 * 2 - 1)
    trend = cv2.blur(profile[None], (width, 1), borderType=cv2.BORDER_REFLECT)[0]
    relative = np.clip(profile / np.maximum(trend, 1e-3) - 1, -3, 3)
    spread = relative.std() + 0.02
    power = np.abs(np.fft.rfft(relative * np.hanning(n), _BINS)) ** 2 / (n * 0.375 * spread**2)
    harmonics = np.append(power, 0.0)[_HARMONIC_BINS].sum(1)
    beyond = (harmonics - _HARMONIC_COUNT) / np.sqrt(_HARMONIC_COUNT)
    # One bin alone is noisy: what chance makes of it does not count.
    by_twos = max(float(power[-8:].mean()) - _CHANCE, 0.0)
    return float(beyond[-1]), float(beyond[:-1].max()), by_twos


def _lines(out_of_place: Plane, inner: Where) -> list[float]:
    """How far the mean along a short line stands out, in the best direction."""
    cut = np.clip(out_of_place, -60, 60)
    best = np.zeros_like(cut)
    half = _LINE // 2
    for turn in range(_TURNS):
        angle = np.pi * turn / _TURNS
        dx, dy = np.cos(angle) * half, np.sin(angle) * half
        kernel = np.zeros((_LINE, _LINE), np.float32)
        start = round(half - dx), round(half - dy)
        end = round(half + dx), round(half + dy)
        cv2.line(kernel, start, end, 1.0, 1)
        best = np.maximum(best, np.abs(cv2.filter2D(cut, -1, kernel / kernel.sum())))
    values = best[inner]
    values = np.sort(values[:: max(len(values) // 20000, 1)])
    last = len(values) - 1
    return [
        float(np.log(values[min(int(len(values) * q), last)] + 0.3)) for q in (0.997, 0.98, 0.8)
    ]


def _normalised(luma: Plane, inside: Where) -> list[float]:
    """Shape, power and neighbours' products of luma over its local deviation, at two scales.

    After Mittal, Moorthy and Bovik, "No-reference image quality assessment in the spatial domain",
    TIP 2012: natural images, and only they, have much the same ones.
    """
    found: list[float] = []
    for _ in range(2):
        mean = cv2.GaussianBlur(luma, (0, 0), 7 / 6)
        square = cv2.GaussianBlur(luma * luma, (0, 0), 7 / 6)
        field = (luma - mean) / (np.sqrt(np.maximum(square - mean * mean, 0)) + np.float32(1.0))
        inner = _eroded(inside)
        values = field[inner]
        if values.size < 16:
            found += [0.0] * 6
        else:
            power = float((values * values).mean())
            shape = float(np.log(np.abs(values).mean() + 1e-3)) - 0.5 * float(np.log(power + 1e-4))
            pairs = (
                (field[:, 1:] * field[:, :-1])[inner[:, 1:]],
                (field[1:] * field[:-1])[inner[1:]],
                (field[1:, 1:] * field[:-1, :-1])[inner[1:, 1:]],
                (field[1:, :-1] * field[:-1, 1:])[inner[1:, :-1]],
            )
            found += [shape, float(np.log(power + 1e-3))]
            found += [float(pair.mean()) / (power + 1e-3) for pair in pairs]
        luma, inside = _halved(luma), _half_inside(inside)
    return found


def _peaks(plane: Plane, inside: Where) -> list[float]:
    """Logarithms of the largest and the 20th power of a frequency over the mean of its ring."""
    height, width = plane.shape
    fine = plane - cv2.GaussianBlur(plane, (0, 0), 3, borderType=cv2.BORDER_REFLECT)
    most = float(np.percentile(np.abs(fine[inside][::7]), 90)) * 1.5 + 1
    fine = np.clip(fine, -most, most) * cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 3)
    n = 256 if max(height, width) > 128 else 128
    if height > n:
        fine = fine[(height - n) // 2 : (height - n) // 2 + n]
    if width > n:
        fine = fine[:, (width - n) // 2 : (width - n) // 2 + n]
    power = (np.abs(np.fft.rfft2(fine, (n, n))) ** 2).astype(np.float32)
    blur = 0.8 * n / min(n, max(64, *[min(fine.shape)]))
    power = np.asarray(cv2.GaussianBlur(power, (0, 0), blur), np.float32)
    radius, ring = _rings(n)
    count = np.maximum(np.bincount(ring.ravel(), minlength=30), 1)
    means = np.bincount(ring.ravel(), power.ravel(), 30) / count
    within = (radius > 0.09) & (radius < 0.68)
    over = (power / np.maximum(means[ring], 1e-9))[within]
    return [float(np.log(over.max() + 0.1)), float(np.log(np.partition(over, -20)[-20] + 1e-6))]


@lru_cache(maxsize=2)
def _rings(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    radius = np.hypot(np.fft.rfftfreq(n)[None], np.fft.fftfreq(n)[:, None])
    return radius, np.minimum((radius * 40).astype(np.int64), 29)


def _thin_things(out_of_place: Plane, inside: Where) -> list[float]:
    """Bright and dark thin things: the longest one, all long ones, specks; sides by side."""
    inner, side = _eroded(inside, 2), float(np.sqrt(inside.sum()))
    both = []
    for sign in (1, -1):
        hot = ((sign * out_of_place > _SPOT) & inner).astype(np.uint8)
        parts = cv2.connectedComponentsWithStats(hot, connectivity=8)[2][1:]
        if not len(parts):
            both.append(_EMPTY)
            continue
        reach = np.hypot(parts[:, 2], parts[:, 3])
        thin = np.clip(reach * reach / np.maximum(parts[:, 4], 1) / 6, 0, 1)
        length = reach * thin
        both.append(
            (
                float(np.log(length.max() / side * 10 + 0.3)),
                float(np.log(length[length > 0.08 * side].sum() / side * 5 + 0.3)),
                float(np.log((parts[:, 4] <= 9).sum() / side + 0.03)),
            )
        )
    return [value for pair in zip(*both, strict=True) for value in pair]
