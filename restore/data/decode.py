"""Bytes of a crop's file into pixels; the only thing that loader workers do."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from restore.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def decode_rgb(data: bytes) -> np.ndarray:
    """RGB uint8 [h,w,3] of an image file's bytes; raises InputError for damaged ones."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"cannot be decoded: {error}") from error


def encode_image(pixels: np.ndarray, kind: str = "png", quality: int = 95, level: int = 1) -> bytes:
    """File bytes of RGB uint8 [h,w,3]: "png" (`level` 0..9), "webp" or "jpg" (`quality`)."""
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    if kind == "png":
        image.save(out, "PNG", compress_level=level)
    elif kind == "webp":
        image.save(out, "WEBP", quality=quality)
    elif kind == "jpg":
        image.save(out, "JPEG", quality=quality, subsampling=0)
    else:
        raise InputError(f"crops as {kind!r}; expected png, webp or jpg")
    return out.getvalue()
