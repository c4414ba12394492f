"""Colour match: the low frequencies of a restored crop become those of the photo."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.warp import Image

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
    return np.clip(np.rint(image * np.float32(full)), 0, full).astype(dtype)


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
