"""Pixels between 8-bit crops and the network's numbers, and what a runtime may be asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError


def to_network(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 RGB [n,s,s,3] -> float32 [n,3,s,s] in [-1,1], contiguous."""
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
    planes *= 2 / 255
    planes -= 1
    return planes


def to_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 [n,3,s,s] about [-1,1], clamped to it -> uint8 RGB [n,s,s,3], rounded to nearest."""
    pixels = np.empty((len(images), *images.shape[2:], 3), np.uint8)
    scaled = np.empty(images.shape[1:], np.float32)  # one image at a time stays in the cache
    for image, target in zip(images, pixels, strict=True):
        np.multiply(image, 127.5, out=scaled)
        scaled += 127.5
        if not np.isfinite(scaled.sum(dtype=np.float64)):  # passes on what is not finite
            raise InputError(
                "the network gave numbers that are not finite; the weights may be damaged"
            )
        np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
        for channel in range(3):
            target[..., channel] = scaled[channel]
    return pixels


def check_request(
    crops: NDArray[np.uint8],
    fidelity: float | NDArray[np.float32],
    size: int,
    supports_fidelity: bool,
) -> NDArray[np.float32]:
    """Fidelity as float32 [n] for crops [n,size,size,3]; raises `InputError` for what cannot be."""
    if crops.ndim != 4 or crops.shape[1:] != (size, size, 3) or crops.dtype != np.uint8:
        raise InputError(
            f"crops are {crops.dtype} {list(crops.shape)}; this model reads uint8 RGB "
            f"[n, {size}, {size}, 3]"
        )
    values = np.asarray(fidelity, np.float32)
    if values.ndim > 1 or values.size not in (1, len(crops)):
        raise InputError(f"fidelity has shape {list(values.shape)}; give one number or one a crop")
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            f"fidelity is {fidelity}; it goes from 0 (prior paints) to 1 (photo leads)"
        )
    if not supports_fidelity and (values != 1).any():
        raise InputError("this model has no fidelity dial; leave it at 1")
    return np.broadcast_to(values.reshape(-1), (len(crops),)).copy()
