"""Tone of monochrome photos: gray stays gray, and a sepia face takes the photo's own sepia."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore.faces.colour import LUMA, FloatImage, low_frequencies, to_unit
from restore.faces.warp import Image

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
