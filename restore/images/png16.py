"""16-bit PNG: the bytes of a file with samples of 16 bits, which Pillow cannot write in colour."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from restore.images.metadata import EXIF_PREFIX, Metadata

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG colour type (PNG 3rd ed., 11.2.1)
_ROWS_AT_ONCE = 256


def encode_png16(planes: np.ndarray, metadata: Metadata | None = None, level: int = 3) -> bytes:
    """uint16 [h,w,c], c = 1..4 (gray, gray+alpha, RGB, RGBA) -> a PNG file."""
    height, width, channels = planes.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header)]
    parts += [_chunk(kind, data) for kind, data in _metadata_chunks(metadata or Metadata())]
    packer = zlib.compressobj(level)
    above = np.zeros((1, width * channels * 2), np.uint8)
    for start in range(0, height, _ROWS_AT_ONCE):
        rows = planes[start : start + _ROWS_AT_ONCE].astype(">u2")
        raw = rows.reshape(len(rows), -1).view(np.uint8)
        data = packer.compress(_filtered(raw, above, 2 * channels).tobytes())
        if data:
            parts.append(_chunk(b"IDAT", data))
        above = raw[-1:]
    parts += [_chunk(b"IDAT", packer.flush()), _chunk(b"IEND", b"")]
    return b"".join(parts)


def _metadata_chunks(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """(type, data) of the chunks that stand between the header and the pixels."""
    chunks = []
    if metadata.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        x, y = (round(value / 0.0254) for value in metadata.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif.removeprefix(EXIF_PREFIX)))
    if metadata.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    for keyword, value in metadata.text:
        key = keyword.encode("latin-1", "replace")
        chunks.append((b"iTXt", key + b"\0\0\0\0\0" + value.encode("utf-8")))
    return chunks


def _filtered(raw: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """uint8 rows [n,bytes] -> [n,1+bytes], each by the better of the filters Sub and Up."""
    sub = raw.copy()
    sub[:, step:] -= raw[:, :-step]
    up = raw - np.concatenate([above, raw[:-1]])
    # Sum of absolute differences as signed bytes: the usual estimate of what packs smaller.
    cost_sub, cost_up = (np.abs(rows.view(np.int8).astype(np.int16)).sum(1) for rows in (sub, up))
    choose_up = cost_up < cost_sub
    out = np.empty((len(raw), raw.shape[1] + 1), np.uint8)
    out[:, 0] = np.where(choose_up, 2, 1)
    out[:, 1:] = np.where(choose_up[:, None], up, sub)
    return out


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
