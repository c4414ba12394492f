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
    """A path, file bytes, array, PIL image, torch tensor or Photo as a Photo; InputError else."""
    if isinstance(photo, Photo):
        return photo
    if isinstance(photo, (str, Path)):
        from restore.images.files import read_photo

        return read_photo(photo)
    if isinstance(photo, (bytes, bytearray, memoryview)):
        from restore.images.files import decode_photo

        try:
            return decode_photo(bytes(photo))
        except InputError as error:
            raise InputError(f"the photo {error}") from error.__cause__
    if isinstance(photo, np.ndarray):
        return photo_from_array(photo)
    if hasattr(photo, "getexif") and hasattr(photo, "convert"):
        return photo_from_pil(photo)
    if is_tensor(photo):
        return photo_from_tensor(photo)
    raise InputError(
        "a photo is a path, the bytes of a file, a numpy array, a PIL image or a torch tensor; "
        f"found {type(photo).__name__}"
    )


def to_side(crop: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square crop [h,h,3] at the network's size; averaged down, cubic up."""
    if crop.shape[0] == side:
        return np.ascontiguousarray(crop)
    import cv2

    how = cv2.INTER_AREA if crop.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (side, side), interpolation=how), np.uint8)
