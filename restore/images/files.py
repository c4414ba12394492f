"""Photo files read: regular files of the known formats alone, within limits (BGR ends here)."""

from __future__ import annotations

import io
import mmap
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from restore.errors import InputError
from restore.images.formats import PLUGINS, content_format
from restore.images.metadata import Metadata, metadata_of_tiff, read_metadata
from restore.images.photo import (
    DECODE_ERRORS,
    Limits,
    Photo,
    frame_notes,
    load_pixels,
    planes_of,
    upright_photo,
)
from restore.images.tiff import (
    EXIF_IFD,
    EXPECTED,
    GPS_IFD,
    Directory,
    describe,
    page_offsets,
    pixels_alone,
    read_directory,
    read_header,
    read_samples,
    reads_itself,
)

MAX_FILE_BYTES = 1 << 30
"""Most bytes of a photo file."""
_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
# Names under which Pillow keeps what it has read itself, where a text of that name ends up too.
_PILLOWS_NAMES = {
    b"aspect", b"background", b"bbox", b"blend", b"chromaticity", b"default_image", b"disposal",
    b"dpi", b"duration", b"exif", b"gamma", b"icc_profile", b"interlace", b"loop", b"srgb",
    b"transparency", b"xmp",
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """One page of a TIFF, counted from 0."""

    path: Path
    index: int


def read_photo(path: str | Path, limits: Limits | None = None, page: int = 0) -> Photo:
    """Read a photo upright, with its metadata; 8 and 16 bit, gray, colour, alpha.

    `page`: of a TIFF. Raises InputError that names the file for what is missing, unreadable, no
    regular file, no image, damaged, truncated or too large.
    """
    path = Path(path)
    try:
        return decode_photo(read_regular(path), limits, page)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__


def decode_photo(data: bytes, limits: Limits | None = None, page: int = 0) -> Photo:
    """The same for the bytes of a photo file."""
    limits = limits or Limits()
    if not data:
        raise InputError("is empty (0 bytes); expected an image file")
    try:
        return _decode(data, limits, page)
    except InputError as error:
        mended = None if limits.strict else _mended(data)
        if mended is None:
            raise
        try:
            photo = _decode(mended[0], limits, page)
        except InputError:
            raise error from error.__cause__
        return replace(photo, notes=(mended[1], *photo.notes))


def open_picture(data: bytes) -> Any:
    """The bytes of a file -> a PIL image that is not decoded yet; nothing else opens pictures.

    Its format is decided by its content and is one of `PLUGINS`, or HEIF with pillow-heif: no other
    code of Pillow's ever sees a file (PostScript, say, would start Ghostscript). Raises InputError.
    """
    return _picture(io.BytesIO(data), data)


def _picture(file: IO[bytes], data: bytes | None = None) -> Any:
    file.seek(0)
    start = file.read(4096) if data is None else data
    file.seek(0)
    name = content_format(start)
    if name is None:
        raise InputError(_what_it_is(start))
    from PIL import Image

    try:
        if name == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        else:
            import_module(f"PIL.{PLUGINS[name]}ImagePlugin")
        factory, _ = Image.OPEN[name]
    except (ImportError, KeyError) as error:
        raise InputError(_without_decoder(name)) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `Limits` holds
            return factory(file, "")
    except Image.DecompressionBombError as error:
        raise InputError(f"is refused: {error}; make it smaller first") from error
    except DECODE_ERRORS as error:
        said = "is damaged, truncated or of a kind that cannot be read"
        raise InputError(f"{said}: {error}") from error


def read_regular(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """All bytes of a regular file, links followed; InputError for others and for larger ones."""
    with _opened(path, most) as file:
        try:
            # Files of /proc say 0 bytes and have no end.
            data = file.read(most + 1 if os.fstat(file.fileno()).st_size else 1 << 16)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}") from error
    if len(data) > most:
        raise InputError(f"has more than {most} bytes; make it smaller first")
    return data


def _opened(path: Path, most: int = MAX_FILE_BYTES) -> IO[bytes]:
    """A regular file opened. Nothing blocks: a FIFO is not waited for, a device is not read."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(path, flags)
    except FileNotFoundError as error:
        raise InputError("does not exist; expected an image file") from error
    except PermissionError as error:
        if os.path.isdir(path):  # what Windows says of a folder
            raise InputError("is a folder; expected an image file") from error
        raise InputError("may not be read (permission denied)") from error
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InputError(f"cannot be read: {said}") from error
    about = os.fstat(number)
    said = ""
    if stat.S_ISDIR(about.st_mode):
        said = "is a folder; expected an image file"
    elif not stat.S_ISREG(about.st_mode):
        said = "is no regular file (a pipe, socket or device); expected an image file"
    elif about.st_size > most:
        said = f"has {about.st_size} bytes; at most {most} are read; make it smaller first"
    if said:
        os.close(number)
        raise InputError(said)
    return os.fdopen(number, "rb")


def page_count(path: str | Path) -> int:
    """How many pages a photo file has: more than 1 for a TIFF alone; 1 for what cannot be read."""
    try:
        with _opened(Path(path)) as file:
            if content_format(file.read(32)) != "TIFF":
                return 1
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return max(1, len(page_offsets(data)))
    except (InputError, OSError, ValueError):
        return 1


def size_of(path: str | Path) -> tuple[int, int]:
    """Width and height of a photo file by its header, of the first page; (0, 0) for none."""
    try:
        with _opened(Path(path)) as file:
            if content_format(file.read(32)) == "TIFF":
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    order, big, offset = read_header(data)
                    first = read_directory(data, offset, order, big)
                    return first.number(256, 0), first.number(257, 0)
            with _picture(file) as image:
                return image.size[0], image.size[1]
    except (InputError, OSError, ValueError):
        return 0, 0


def _decode(data: bytes, limits: Limits, page: int) -> Photo:
    name = content_format(data)
    if name == "TIFF":
        return _decode_tiff(data, limits, page)
    if page:
        raise InputError(f"has no page {page + 1}; it is no TIFF")
    texts: tuple[tuple[str, str], ...] = ()
    if name == "PNG":
        data, texts = _without_false_names(data)
    with open_picture(data) as image:
        deep = name == "PNG" and data[24] == 16
        width, height = image.size
        limits.check(width, height, deep)
        load_pixels(image)  # PNG may hold EXIF and text behind the pixels
        metadata, notes = read_metadata(image)
        metadata = replace(metadata, text=metadata.text + texts)
        orientation = metadata.orientation
        if deep and data[25] in (2, 4, 6):  # colour or alpha, which Pillow cuts to 8 bits
            planes = _png_planes(data)
        else:
            planes, metadata, mode_notes = planes_of(image, metadata)
            notes += mode_notes
        return upright_photo(planes, orientation, metadata, notes + frame_notes(image))


def _decode_tiff(data: bytes, limits: Limits, page: int) -> Photo:
    order, big, first = read_header(data)
    pages = page_offsets(data)
    if page >= max(len(pages), 1):
        raise InputError(f"has no page {page + 1}; it holds {len(pages)}")
    offset = pages[page] if pages else first
    directory = read_directory(data, offset, order, big, (EXIF_IFD, GPS_IFD))
    width, height = directory.number(256, 0), directory.number(257, 0)
    if not (width and height):
        raise InputError("is damaged or truncated: its first page has no size")
    limits.check(width, height, directory.number(258, 1) > 8)
    metadata = metadata_of_tiff(directory)
    if reads_itself(directory):
        planes, notes = read_samples(data, directory)
    else:
        planes, metadata, notes = _tiff_by_pillow(data, directory, metadata)
    if len(pages) > 1:
        notes = (*notes, f"page {page + 1} of {len(pages)}")
    return upright_photo(planes, metadata.orientation, metadata, notes)


def _tiff_by_pillow(
    data: bytes, directory: Directory, metadata: Metadata
) -> tuple[np.ndarray, Metadata, tuple[str, ...]]:
    try:
        opened = open_picture(pixels_alone(data, directory))
    except InputError as error:
        said = f"is a TIFF that cannot be read ({describe(directory)}); {EXPECTED}"
        raise InputError(said) from error
    with opened as image:
        load_pixels(image)
        planes, metadata, notes = planes_of(image, metadata)
    bits = set(directory.numbers(258, (1,)))
    if bits == {12} and planes.dtype == np.uint16:
        planes = ((planes.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
    if bits == {16} and planes.dtype == np.uint8:
        notes = (*notes, "its 16 bits were reduced to 8")
    return planes, metadata, notes


def _png_planes(data: bytes) -> np.ndarray:
    """uint16 [h,w,c] as stored (not turned), RGB(A) or gray and alpha, of a PNG that is whole."""
    import cv2

    flags = cv2.IMREAD_UNCHANGED | getattr(cv2, "IMREAD_IGNORE_ORIENTATION", 0)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"is damaged or of an unknown 16-bit kind: {error.err}") from error
    if bgr is None or bgr.dtype != np.uint16:
        raise InputError("is damaged, truncated or of a 16-bit kind that cannot be read")
    if bgr.ndim == 2:
        return bgr[:, :, None]
    if data[25] == 4:
        return bgr[:, :, [0, bgr.shape[2] - 1]]
    return bgr[:, :, [2, 1, 0, 3][: bgr.shape[2]]]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Type, first byte, byte behind the end, whether the checksum holds, of each whole chunk."""
    at = len(_PNG_MARK)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            return
        (check,) = struct.unpack_from(">I", data, end - 4)
        yield kind, at, end, zlib.crc32(memoryview(data)[at + 4 : end - 4]) == check
        at = end


def _without_false_names(data: bytes) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """The PNG without texts that Pillow would take for what it has read itself; and those texts."""
    kept, texts, last = [], [], 0
    for kind, start, end, _ in _png_chunks(data):
        if kind not in _TEXT_CHUNKS:
            continue
        body = data[start + 8 : end - 4]
        name, _, rest = body.partition(b"\0")
        if name in _PILLOWS_NAMES:
            texts.append((name.decode("latin-1"), _png_text(kind, rest)))
            kept.append(data[last:start])
            last = end
    return (b"".join([*kept, data[last:]]), tuple(texts)) if kept else (data, ())


def _png_text(kind: bytes, rest: bytes) -> str:
    """The text of a chunk, behind its keyword (PNG 3rd ed., 11.3.3)."""
    packed, encoding = kind == b"zTXt", "latin-1"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        packed, encoding = rest[:1] == b"\1", "utf-8"
        rest = rest[2:].split(b"\0", 2)[-1]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, 1 << 20)
        except zlib.error:
            rest = b""
    return rest.decode(encoding, "replace")


def _mended(data: bytes) -> tuple[bytes, str] | None:
    """A damaged file as every viewer shows it, and what was wrong; None where none would."""
    kind = content_format(data)
    if kind == "PNG":
        return _mended_png(data)
    return _mended_jpeg(data) if kind == "JPEG" else None


def _mended_png(data: bytes) -> tuple[bytes, str] | None:
    """Without the side chunks whose checksums are wrong, and with an end."""
    parts, wrong, ended = [_PNG_MARK], [], False
    for kind, start, end, sound in _png_chunks(data):
        if kind[:1].islower() and not sound:
            wrong.append(kind.decode("ascii", "replace"))
        else:
            parts.append(data[start:end])
            ended = ended or kind == b"IEND"
    if not ended:
        parts.append(struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND")))
    if ended and not wrong:
        return None
    said = f"its chunks {', '.join(wrong)} are damaged and were left out" if wrong else ""
    return b"".join(parts), said or "the file has no end mark; the picture is whole"


def _mended_jpeg(data: bytes) -> tuple[bytes, str] | None:
    """With an end mark. libjpeg paints what is missing gray: at most half of the rows may be."""
    end = b"\xff\xd9"
    try:
        with open_picture(data + end) as image:
            load_pixels(image)
            found = np.asarray(image)
        # Where a little less of the file changes the picture, there the file ends.
        with open_picture(data[: -max(16, len(data) // 50)] + end) as image:
            load_pixels(image)
            less = np.asarray(image)
    except InputError:
        return None
    if less.shape != found.shape:
        return None
    changed = (found != less).reshape(len(found), -1).any(axis=1)
    rows = int(changed.argmax()) if changed.any() else len(found)
    if rows < len(found) / 2:
        return None
    if rows > 0.95 * len(found) - 16:
        return data + end, "the file is cut at its end; the picture is whole or nearly so"
    return data + end, f"the file is cut: about {1 - rows / len(found):.0%} of the picture is gray"


def _without_decoder(name: str) -> str:
    if name == "HEIF":
        return "is a HEIF file, which Pillow alone does not read; pip install pillow-heif"
    return f"is of the format {name}, which this Pillow does not read; pip install -U pillow"


def _what_it_is(data: bytes) -> str:
    """A sentence on bytes that are of no known format."""
    start = data[:16]
    if start.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "is PostScript, no photo; expected an image file"
    if start.startswith((b"\xff\xd8", b"\x89PNG", b"RIFF")):
        return "starts like an image but is damaged, truncated or of a kind that cannot be read"
    printable = sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data[:512])
    kind = "text" if printable >= 0.95 * len(data[:512]) else "unknown data"
    return f"is no image: it holds {kind} (it starts with {start!r}); expected an image file"
