"""Photos that come as torch tensors; torch itself is not imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from restore.errors import InputError
from restore.images.photo import Photo, photo_from_array


def is_tensor(value: Any) -> bool:
    """Is it a torch tensor, or something that acts as one?"""
    return all(hasattr(value, name) for name in ("detach", "cpu", "numpy", "is_floating_point"))


def photo_from_tensor(tensor: Any) -> Photo:
    """A photo of a tensor [c,h,w], c = 1..4 (gray, gray+alpha, RGB, RGBA), on any device.

    uint8 and uint16 are taken as they are; floats are in [0,1] and become 8 bits, rounded, so that
    `torchvision.io.read_image` and `to_tensor` both fit. Raises InputError for another shape, for
    NaN, and for values outside of [0,1], such as the networks' own [-1,1].
    """
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 2, 3, 4):
        batch = "; give the photos of a batch one by one" if tensor.ndim == 4 else ""
        raise InputError(
            f"photo tensor has shape {list(tensor.shape)}; expected [c,h,w] with c = 1..4{batch}"
        )
    floating = tensor.is_floating_point()
    # numpy knows no bfloat16.
    array = (tensor.detach().float() if floating else tensor.detach()).cpu().numpy()
    if floating:
        array = _eight_bits(array)
    return photo_from_array(np.ascontiguousarray(array.transpose(1, 2, 0)))


def _eight_bits(array: np.ndarray) -> np.ndarray:
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    # Resampling overshoots a little; half a level is no other range.
    slack = 0.5 / 255
    if not (low >= -slack and high <= 1 + slack):
        hint = "; for [-1,1] give (x + 1) / 2" if -1.5 < low < 0 and high < 1.5 else ""
        raise InputError(
            f"photo tensor holds values from {low:.3g} to {high:.3g}; expected floats in [0,1], or "
            f"uint8{hint}"
        )
    return np.rint(array.clip(0, 1) * 255).astype(np.uint8)
