"""Photo files written: encoded in memory, then put in place in one step."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from restore.errors import InputError
from restore.images.depth import over_white, to_uint8
from restore.images.formats import Format, format_of
from restore.images.metadata import XMP_SEGMENT, Metadata, exif_is_sound
from restore.images.photo import split_alpha
from restore.images.png16 import encode_png16
from restore.images.tiff import encode_tiff

JPEG_SEGMENT = 65533  # most bytes of payload in one JPEG segment


@dataclass(frozen=True)
class WriteOptions:
    """How lossy files are packed."""

    quality: int = 95
    """1..100, of JPEG, WebP and AVIF."""
    subsampling: str = "4:4:4"
    """Chroma of JPEG and AVIF: "4:4:4" (none lost), "4:2:2" or "4:2:0"."""
    zlib_level: int = 3
    """0..9, of PNG and TIFF."""


def write_photo(
    path: str | Path,
    image: np.ndarray,
    metadata: Metadata | None = None,
    options: WriteOptions | None = None,
) -> tuple[str, ...]:
    """Write a photo in the format of the suffix, atomically; returns what could not be kept.

    `image`: uint8 or uint16, [h,w] or [h,w,c] with c = 1..4 (gray, gray+alpha, RGB, RGBA).
    Raises InputError where the format cannot hold the photo or the file cannot be written.
    """
    path = Path(path)
    try:
        data, notes = encode_photo(image, format_of(path.suffix), metadata, options)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__
    write_atomically(path, data)
    return notes


def encode_photo(
    image: np.ndarray,
    form: Format,
    metadata: Metadata | None = None,
    options: WriteOptions | None = None,
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a photo file and what could not be kept in it."""
    metadata, options = metadata or Metadata(), options or WriteOptions()
    planes = image if image.ndim == 3 else image[:, :, None]
    height, width, channels = planes.shape
    if max(height, width) > form.max_side:
        raise InputError(
            f"{form.name} holds at most {form.max_side} px a side, the photo is {width} x {height};"
            " choose PNG or TIFF (--ext png), or a smaller scale"
        )
    notes: list[str] = []
    if channels in (2, 4) and not form.alpha:
        planes = over_white(*_pixels_and_alpha(planes))
        planes = planes if planes.ndim == 3 else planes[:, :, None]
        notes.append(f"{form.name} holds no alpha: laid over white")
    if planes.dtype == np.uint16 and not form.depth16:
        planes = to_uint8(planes)
        notes.append(f"{form.name} holds no 16 bits: reduced to 8")
    if not form.metadata and (metadata.exif or metadata.xmp or metadata.icc or metadata.iptc):
        notes.append(f"{form.name} holds no EXIF, XMP, ICC or IPTC: not kept")
    if metadata.iptc and form.metadata and form.name != "JPEG":
        notes.append(f"IPTC block not kept in {form.name}")
    if metadata.text and form.name != "PNG":
        notes.append(f"PNG text not kept in {form.name}")
    if form.name == "TIFF":
        if planes.dtype == np.uint16 and channels == 2:  # hardly any program reads that kind
            planes = planes[:, :, [0, 0, 0, 1]]
        if metadata.exif and not exif_is_sound(metadata.exif):
            metadata = replace(metadata, exif=None)
            notes.append("the EXIF block is damaged: not kept in TIFF")
        data = encode_tiff(planes, metadata, options.zlib_level)
    elif planes.dtype == np.uint16:
        data = encode_png16(planes, metadata, options.zlib_level)
    else:
        data = _encode_with_pillow(planes, form, metadata, options, notes)
    return data, tuple(notes)


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` whole or not at all; folders are made. InputError says what is wrong."""
    temporary = path.with_name(f".restore-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:  # also on an interrupt; after the rename there is nothing left to remove
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {_why(error)}") from error


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room or choose another folder with -o"
    if error.errno == errno.EROFS:
        return "the disk is read-only; choose another folder with -o"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission to write there; choose another folder with -o"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "a part of the path is a file, not a folder; choose another folder with -o"
    return error.strerror or str(error)


def _pixels_and_alpha(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels, alpha = split_alpha(planes)
    assert alpha is not None
    return pixels, alpha


def _encode_with_pillow(
    planes: np.ndarray, form: Format, meta: Metadata, options: WriteOptions, notes: list[str]
) -> bytes:
    from PIL import Image, features

    if form.name == "AVIF" and not features.check("avif"):
        raise InputError("this Pillow writes no AVIF; choose another format (--ext png)")
    array = planes[:, :, 0] if planes.shape[2] == 1 else planes
    image = Image.fromarray(np.ascontiguousarray(array))
    arguments: dict[str, Any] = {"icc_profile": meta.icc, "dpi": meta.dpi, "exif": meta.exif}
    arguments |= _FORMAT_ARGUMENTS[form.name](meta, options, notes)
    arguments = {key: value for key, value in arguments.items() if value is not None}
    out = io.BytesIO()
    try:
        image.save(out, form.name, **arguments)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be encoded as {form.name}: {error}") from error
    return out.getvalue()


def _jpeg(meta: Metadata, options: WriteOptions, notes: list[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"quality": options.quality, "subsampling": options.subsampling}
    if meta.exif and len(meta.exif) > JPEG_SEGMENT:
        notes.append(f"EXIF of {len(meta.exif)} bytes is too long for JPEG: not kept")
        arguments["exif"] = None
    # Raw segments: Pillow 10 does not know JPEG's XMP, and no Pillow writes IPTC.
    extra = b""
    for marker, name, header, data in (
        (b"\xff\xe1", "XMP", XMP_SEGMENT, meta.xmp),
        (b"\xff\xed", "IPTC", b"", meta.iptc),
    ):
        if not data:
            continue
        payload = header + data
        if len(payload) > JPEG_SEGMENT:
            notes.append(f"{name} of {len(data)} bytes is too long for JPEG: not kept")
        else:
            extra += marker + (len(payload) + 2).to_bytes(2, "big") + payload
    return arguments | ({"extra": extra} if extra else {})


def _png(meta: Metadata, options: WriteOptions, notes: list[str]) -> dict[str, Any]:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if meta.xmp:
        info.add_itxt("XML:com.adobe.xmp", meta.xmp.decode("utf-8", "replace"))
    for keyword, value in meta.text:
        info.add_itxt(keyword, value)
    return {"pnginfo": info, "compress_level": options.zlib_level}


def _webp(meta: Metadata, options: WriteOptions, notes: list[str]) -> dict[str, Any]:
    return {"quality": options.quality, "method": 4, "xmp": meta.xmp, "dpi": None}


def _avif(meta: Metadata, options: WriteOptions, notes: list[str]) -> dict[str, Any]:
    chosen = {"quality": options.quality, "subsampling": options.subsampling}
    return chosen | {"xmp": meta.xmp, "dpi": None}


def _bmp(meta: Metadata, options: WriteOptions, notes: list[str]) -> dict[str, Any]:
    return {"icc_profile": None, "exif": None}


_FORMAT_ARGUMENTS = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "AVIF": _avif,
    "BMP": _bmp,
}
