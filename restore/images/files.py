"""Photo files read: every kind that Pillow reads, and 16-bit colour by OpenCV (BGR ends here)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from restore.errors import InputError
from restore.images.metadata import ORIENTATION, set_exif_integers
from restore.images.photo import (
    DECODE_ERRORS,
    Photo,
    check_pixel_count,
    load_pixels,
    photo_from_pil,
)


def read_photo(path: str | Path) -> Photo:
    """Read a photo upright, with its metadata; 8 and 16 bit, gray, colour, alpha.

    Raises InputError that names the file for what is missing, unreadable, no image, damaged,
    truncated or too large.
    """
    path = Path(path)
    try:
        return decode_photo(_read_bytes(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__


def decode_photo(data: bytes) -> Photo:
    """The same for the bytes of a photo file."""
    from PIL import Image

    if not data:
        raise InputError("is empty (0 bytes); expected an image file")
    _offer_heif(data)
    try:
        opened = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise InputError(f"is refused: {error}; make it smaller first") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(_what_it_is(data)) from error
    except DECODE_ERRORS as error:
        raise InputError(f"is damaged or truncated: {error}") from error
    with opened as image:
        planes = _sixteen_bit_planes(image, data) if _is_sixteen_bit_colour(image, data) else None
        return photo_from_pil(image, planes)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("does not exist; expected an image file") from error
    except IsADirectoryError as error:
        raise InputError("is a folder; expected an image file") from error
    except PermissionError as error:
        raise InputError("may not be read (permission denied)") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error


def _is_sixteen_bit_colour(image: Any, data: bytes) -> bool:
    """Does the file hold 16 bits a sample in more than one channel, which Pillow cuts to 8?"""
    if image.format == "PNG":
        return data[24] == 16 and data[25] in (2, 4, 6)  # IHDR: bit depth, colour type
    if image.format == "TIFF":
        depths = image.tag_v2.get(258, (1,))
        return len(depths) > 1 and all(depth == 16 for depth in depths)
    return False


def _sixteen_bit_planes(image: Any, data: bytes) -> np.ndarray:
    """uint16 [h,w,c] as stored (not turned), RGB(A) or gray and alpha."""
    import cv2

    check_pixel_count(*image.size)
    if image.format == "PNG":
        load_pixels(image)  # OpenCV fills the missing rows of a truncated PNG in silence
    else:
        # OpenCV turns TIFF pixels whatever it is told: a TIFF is an EXIF block, so patch the tag.
        data = set_exif_integers(data, {ORIENTATION: 1})
    flags = cv2.IMREAD_UNCHANGED | getattr(cv2, "IMREAD_IGNORE_ORIENTATION", 0)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"is damaged or of an unknown 16-bit kind: {error.err}") from error
    if bgr is None or bgr.dtype != np.uint16:
        raise InputError(
            "is damaged, truncated or of a 16-bit kind that cannot be read; "
            "expected 16-bit gray, RGB or RGBA"
        )
    if bgr.ndim == 2:
        return bgr[:, :, None]
    gray_alpha = image.format == "PNG" and data[25] == 4
    if gray_alpha:
        return bgr[:, :, [0, bgr.shape[2] - 1]]
    return bgr[:, :, [2, 1, 0, 3][: bgr.shape[2]]]


def _offer_heif(data: bytes) -> None:
    """Let Pillow read HEIF where pillow-heif is installed."""
    if data[4:8] != b"ftyp" or data[8:12] not in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def _what_it_is(data: bytes) -> str:
    """A sentence on bytes that no decoder knows."""
    start = data[:16]
    if data[4:8] == b"ftyp" and data[8:11] in (b"hei", b"mif", b"hev", b"msf"):
        return "is a HEIF file, which Pillow alone does not read; pip install pillow-heif"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "is an AVIF file, which this Pillow does not read; pip install -U pillow"
    if start.startswith((b"\xff\xd8", b"\x89PNG", b"II*\0", b"MM\0*", b"RIFF", b"BM")):
        return "starts like an image but is damaged, truncated or of a kind that cannot be read"
    printable = sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data[:512])
    kind = "text" if printable >= 0.95 * len(data[:512]) else "unknown data"
    return f"is no image: it holds {kind} (it starts with {start!r}); expected an image file"
