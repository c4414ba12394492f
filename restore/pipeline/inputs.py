"""What a caller may give as a photo or a crop, brought to one form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.images.photo import Photo, photo_from_array, photo_from_pil
from restore.images.tensor import is_tensor, photo_from_tensor


def as_photo(photo: Any) -> Photo:
    """A path, PIL image, array, torch tensor or Photo as a Photo; InputError for anything else."""
    if isinstance(photo, Photo):
        return photo
    if isinstance(photo, (str, Path)):
        from restore.images.files import read_photo

        return read_photo(photo)
    if isinstance(photo, np.ndarray):
        return photo_from_array(photo)
    if hasattr(photo, "getexif") and hasattr(photo, "convert"):
        return photo_from_pil(photo)
    if is_tensor(photo):
        return photo_from_tensor(photo)
    raise InputError(
        "a photo is a path, a numpy array, a PIL image or a torch tensor; found "
        f"{type(photo).__name__}"
    )


def to_side(crop: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square crop [h,h,3] at the network's size; averaged down, cubic up."""
    if crop.shape[0] == side:
        return np.ascontiguousarray(crop)
    import cv2

    how = cv2.INTER_AREA if crop.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (side, side), interpolation=how), np.uint8)
