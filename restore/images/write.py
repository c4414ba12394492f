"""Photo files written, whole or not at all: every format, 16-bit PNG, TIFF of several pages."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import platform
import re
import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from restore.errors import InputError
from restore.images.formats import Format, format_of
from restore.images.metadata import (
    EXIF_PREFIX,
    JPEG_SEGMENT,
    XMP_SEGMENT,
    Metadata,
    exif_is_sound,
)
from restore.images.pixels import over_white, split_alpha, to_uint8
from restore.images.tiff import Directory, entry_of, pack_directory, read_exif, with_order


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
    replace_file: bool = True,
) -> tuple[str, ...]:
    """Write a photo in the format of the suffix, atomically; returns what could not be kept.

    `image`: uint8 or uint16, [h,w] or [h,w,c] with c = 1..4 (gray, gray+alpha, RGB, RGBA).
    `replace_file`: see `atomic_file`. Raises InputError where the format cannot hold the photo or
    the file cannot be written.
    """
    path = Path(path)
    try:
        data, notes = encode_photo(image, format_of(path.suffix), metadata, options)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__
    write_atomically(path, data, replace_file)
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
    if metadata.exif and form.name in ("TIFF", "AVIF") and not exif_is_sound(metadata.exif):
        metadata = replace(metadata, exif=None)
        notes.append(f"the EXIF block is damaged: not kept in {form.name}")
    if form.name == "TIFF":
        out = io.BytesIO()
        TiffPages(out, options).add_planes(planes, metadata)
        data = out.getvalue()
    elif planes.dtype == np.uint16:
        data = encode_png16(planes, metadata, options.zlib_level)
    else:
        data = _encode_with_pillow(planes, form, metadata, options, notes)
    return data, tuple(notes)


def write_atomically(path: Path, data: bytes, replace_file: bool = True) -> None:
    """Put `data` at `path` whole or not at all; see `atomic_file`."""
    with atomic_file(path, replace_file) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: Path, replace_file: bool = True) -> Iterator[IO[bytes]]:
    """A file to write that is at `path` when the block has ended well, and nowhere else ever.

    Folders are made. Without `replace_file` a file that is there already stays: InputError, as for
    a full disk and so on. What killed programs left of theirs in the same folder is cleared away.
    """
    temporary = path.with_name(f"{_part_prefix()}{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_parts(path.parent)
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if replace_file:
                os.replace(temporary, path)
            else:
                _put_new(temporary, path)
        finally:  # also on an interrupt; after the rename there is nothing left to remove
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {_why(error)}") from error


def _put_new(temporary: Path, path: Path) -> None:
    """Rename where nothing is yet."""
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise InputError(
            f"{path}: is there already and is no result of this program; move it away, or choose "
            "another folder with -o"
        ) from error
    except OSError as error:  # a file system without links
        if os.path.lexists(path):
            raise InputError(f"{path}: is there already; move it away") from error
        os.replace(temporary, path)


_PARTS = re.compile(r"\.restore-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.part")
_cleared: set[str] = set()


def _part_prefix() -> str:
    """Names of this machine's unfinished files: another one's process numbers say nothing here."""
    return f".restore-{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-"


def _clear_parts(folder: Path) -> None:
    """Remove, once a run and folder, the unfinished files of processes that are no more."""
    if str(folder) in _cleared:
        return
    _cleared.add(str(folder))
    for name in os.listdir(folder):
        found = _PARTS.fullmatch(name)
        if found and name.startswith(_part_prefix()) and not is_alive(int(found[2])):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def is_alive(process: int) -> bool:
    """Whether a process of this machine is at work; True where that cannot be known."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room or choose another folder with -o"
    if error.errno == errno.EROFS:
        return "the disk is read-only; choose another folder with -o"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission to write there; choose another folder with -o"
    if error.errno == errno.ENAMETOOLONG:
        return "the name is too long for this disk; choose a shorter one"
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


class TiffPages:
    """Owns a TIFF file that grows by a page at a time; it is whole after each.

    Pillow writes no 16-bit colour, and loses EXIF when it compresses.
    """

    def __init__(self, file: IO[bytes], options: WriteOptions | None = None) -> None:
        """`file`: empty, seekable."""
        self._file, self._options = file, options or WriteOptions()
        file.write(b"II*\0\0\0\0\0")
        self._pointer = 4  # where the offset of the next directory goes

    def add(self, image: np.ndarray, metadata: Metadata | None = None) -> tuple[str, ...]:
        """Append a page: uint8 or uint16 [h,w] or [h,w,c], c = 1..4. Returns what is not kept."""
        metadata = metadata or Metadata()
        notes: tuple[str, ...] = ()
        if metadata.exif and not exif_is_sound(metadata.exif):
            metadata, notes = replace(metadata, exif=None), ("the EXIF block is damaged: not kept",)
        self.add_planes(image if image.ndim == 3 else image[:, :, None], metadata)
        return notes

    def add_planes(self, planes: np.ndarray, metadata: Metadata) -> None:
        """The same for [h,w,c] and an EXIF block that is sound.

        Tags as in TIFF 6.0, deflated; the predictor (section 14) works on whole samples.
        """
        if planes.dtype == np.uint16 and planes.shape[2] == 2:  # hardly any program reads that kind
            planes = planes[:, :, [0, 0, 0, 1]]
        start = self._end()
        packer = zlib.compressobj(self._options.zlib_level)
        for first in range(0, len(planes), _ROWS_AT_ONCE):
            rows = planes[first : first + _ROWS_AT_ONCE]
            # The predictor wraps around as unsigned samples do.
            differences = np.concatenate([rows[:, :1], rows[:, 1:] - rows[:, :-1]], axis=1)
            sample = planes.dtype.newbyteorder("<")
            self._file.write(packer.compress(differences.astype(sample).tobytes()))
        self._file.write(packer.flush())
        length = self._file.seek(0, io.SEEK_END) - start
        directory = _tiff_directory(planes, metadata, (start, length))
        at = self._end()
        packed = pack_directory(directory, at)
        if at + len(packed) > 0xFFFFFFFF:
            raise InputError("a TIFF holds at most 4 GB; choose another format (--ext png)")
        self._file.write(packed)
        self._file.seek(self._pointer)
        self._file.write(struct.pack("<I", at))
        self._file.seek(0, io.SEEK_END)
        self._pointer = at + 2 + 12 * struct.unpack_from("<H", packed)[0]

    def _end(self) -> int:
        """The even offset behind everything."""
        at = self._file.seek(0, io.SEEK_END)
        self._file.write(bytes(at % 2))
        return at + at % 2


def _tiff_directory(planes: np.ndarray, metadata: Metadata, strip: tuple[int, int]) -> Directory:
    """The tags of a page whose one strip lies at (offset, length); Pillow before 11 needs one."""
    height, width, channels = planes.shape
    exif = read_exif(metadata.exif.removeprefix(EXIF_PREFIX)) if metadata.exif else None
    entries, below = {}, {}
    if exif is not None:
        entries = {tag: with_order(e, exif.order, "<") for tag, e in exif.entries.items()}
        below = {tag: _little_endian(inner) for tag, inner in exif.below.items()}
    entries |= {
        256: entry_of("<", 4, width), 257: entry_of("<", 4, height),
        258: entry_of("<", 3, *[8 * planes.itemsize] * channels),
        259: entry_of("<", 3, 8),  # Adobe deflate
        262: entry_of("<", 3, 2 if channels >= 3 else 1),  # RGB or black is 0
        273: entry_of("<", 4, strip[0]), 277: entry_of("<", 3, channels),
        278: entry_of("<", 4, height), 279: entry_of("<", 4, strip[1]),
        284: entry_of("<", 3, 1), 317: entry_of("<", 3, 2),
    }  # fmt: skip
    if channels in (2, 4):
        entries[338] = entry_of("<", 3, 2)  # alpha, not multiplied in
    if metadata.dpi:
        for tag, value in zip((282, 283), metadata.dpi, strict=True):
            entries[tag] = entry_of("<", 5, round(value * 1000), 1000)
        entries[296] = entry_of("<", 3, 2)
    if metadata.xmp:
        entries[700] = entry_of("<", 1, *metadata.xmp)
    if metadata.icc:
        entries[34675] = replace(entry_of("<", 1, *metadata.icc), kind=7)
    return Directory("<", entries, 0, below)


def _little_endian(directory: Directory) -> Directory:
    return Directory(
        "<",
        {tag: with_order(e, directory.order, "<") for tag, e in directory.entries.items()},
        0,
        {tag: _little_endian(inner) for tag, inner in directory.below.items()},
    )
