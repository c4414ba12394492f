"""TIFF structures, of TIFF files and EXIF blocks: directories read and packed, and sample planes.

Everything here is linear in the file's length, whatever its offsets say.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from restore.errors import InputError

Bytes = bytes | mmap.mmap
"""A file in memory, or mapped into it."""
MAX_PAGES = 1000
"""Most pages a file may hold."""
ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
_SUB_DIRECTORIES = {EXIF_IFD: (INTEROP_IFD,), GPS_IFD: (), INTEROP_IFD: ()}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}  # BigTIFF
_WORDS = {3: 2, 8: 2, 4: 4, 9: 4, 11: 4, 13: 4, 5: 4, 10: 4, 12: 8, 16: 8, 17: 8, 18: 8}
"""Bytes that are swapped together, by kind of entry."""
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
LOSSLESS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits",
            34925: "LZMA", 50000: "ZSTD"}  # fmt: skip
_PIXEL_TAGS = frozenset([
    256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 318, 319, 320, 322, 323,
    324, 325, 332, 334, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529,
    530, 531, 532,
])  # fmt: skip
_PHOTOMETRIC = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr",
                8: "Lab", 9: "Lab", 32803: "sensor", 34892: "sensor"}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One tag's value: `count` items of a TIFF kind (2 text, 3 SHORT, 4 LONG, 5 RATIONAL, ...)."""

    kind: int
    count: int
    data: bytes
    """The items as they stand in the file, in its byte order."""


@dataclass(frozen=True)
class Directory:
    """The tags of one TIFF directory (IFD)."""

    order: str
    """"<" or ">", as `struct` has it."""
    entries: Mapping[int, Entry]
    next: int = 0
    """Offset of the next directory; 0 for none."""
    below: Mapping[int, Directory] = field(default_factory=dict)
    """Directories that tags of this one point at: Exif, GPS, interoperability."""

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The whole numbers of a tag; `default` where it is not there or holds something else."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS:
            return default
        return struct.unpack(f"{self.order}{entry.count}{_INTEGERS[entry.kind]}", entry.data)

    def number(self, tag: int, default: int) -> int:
        """The first of them."""
        return next(iter(self.numbers(tag)), default)


def read_header(data: Bytes) -> tuple[str, bool, int]:
    """Byte order, whether it is BigTIFF, offset of the first directory. InputError for others."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    try:
        version = struct.unpack_from(f"{order}H", data, 2)[0] if order else 0
        if version in (42, 43):
            at = (8, "Q") if version == 43 else (4, "I")
            return str(order), version == 43, struct.unpack_from(f"{order}{at[1]}", data, at[0])[0]
    except struct.error:
        pass
    raise InputError("is damaged or truncated: it has no TIFF header")


def read_directory(
    data: Bytes, offset: int, order: str, big: bool = False, below: tuple[int, ...] = ()
) -> Directory:
    """The directory at `offset`; tags whose values do not lie in the file are left out.

    `below`: tags whose value is the offset of a directory to be read as well. InputError where
    there is no directory at all.
    """
    try:
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, offset)
        start, size, inline = (offset + 8, 20, 8) if big else (offset + 2, 12, 4)
        count = min(count, max(0, (len(data) - start) // size))
        entries: dict[int, Entry] = {}
        for at in range(start, start + count * size, size):
            tag, kind = struct.unpack_from(f"{order}HH", data, at)
            (length,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, at + 4)
            total = length * _SIZES.get(kind, 0)
            where = at + size - inline
            if total > inline:
                (where,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, where)
            if tag not in entries and 0 < total <= len(data) - where:
                entries[tag] = Entry(kind, length, bytes(data[where : where + total]))
        following = 0
        if len(data) >= start + count * size + inline:
            following = struct.unpack_from(
                f"{order}{'Q' if big else 'I'}", data, start + count * size
            )[0]
    except struct.error as error:
        raise InputError("is damaged or truncated: a TIFF directory lies outside of it") from error
    found = Directory(order, entries, following)
    inner: dict[int, Directory] = {}
    for tag in below:
        pointer = found.number(tag, 0)
        if pointer:
            try:
                inner[tag] = read_directory(data, pointer, order, big, _SUB_DIRECTORIES[tag])
            except InputError:  # one that lies outside is as if it were not there
                continue
    return Directory(order, entries, following, inner)


def read_exif(body: bytes) -> Directory | None:
    """The directories of an EXIF block (behind its prefix); None where it is damaged."""
    try:
        order, big, first = read_header(body)
        return read_directory(body, first, order, big, (EXIF_IFD, GPS_IFD))
    except InputError:
        return None


def page_offsets(data: Bytes) -> list[int]:
    """Where the directories of a TIFF's pages lie; thumbnails and masks are no pages.

    InputError for more than `MAX_PAGES`, which no scan has.
    """
    order, big, offset = read_header(data)
    pages: list[int] = []
    seen: set[int] = set()
    while offset and offset not in seen:
        if len(seen) >= MAX_PAGES:
            raise InputError(f"holds more than {MAX_PAGES} pages; split it first")
        seen.add(offset)
        try:
            kind, following = _kind_and_next(data, offset, order, big)
        except struct.error:  # what a damaged chain leads to is no page
            break
        if not pages or not kind & 0b101:  # NewSubfileType: 1 smaller copy, 4 mask
            pages.append(offset)
        offset = following
    return pages


def _kind_and_next(data: Bytes, offset: int, order: str, big: bool) -> tuple[int, int]:
    """NewSubfileType of the directory and the offset of the next one, without reading its tags."""
    number, start, size = ("Q", 8, 20) if big else ("H", 2, 12)
    (count,) = struct.unpack_from(order + number, data, offset)
    kind = 0
    for at in range(offset + start, offset + start + min(count, 64) * size, size):
        if struct.unpack_from(f"{order}H", data, at)[0] == 254:  # tags are sorted: among the first
            (kind,) = struct.unpack_from(f"{order}I", data, at + size - (8 if big else 4))
            break
    end = offset + start + count * size
    return kind, struct.unpack_from(order + ("Q" if big else "I"), data, end)[0]


def with_order(entry: Entry, order: str, wanted: str) -> Entry:
    """The entry with its items in another byte order."""
    word = _WORDS.get(entry.kind)
    if order == wanted or word is None:
        return entry
    swapped = np.frombuffer(entry.data, np.uint8).reshape(-1, word)[:, ::-1].tobytes()
    return Entry(entry.kind, entry.count, swapped)


def pack_directory(directory: Directory, at: int) -> bytes:
    """The bytes of a classic TIFF directory that will lie at offset `at`, its values behind it."""
    order = directory.order
    entries = {t: e for t, e in directory.entries.items() if t not in _SUB_DIRECTORIES}
    pointers = {t: d for t, d in directory.below.items() if d.entries}
    tags = sorted([*entries, *pointers])
    head = bytearray(struct.pack(f"{order}H", len(tags)))
    tail = bytearray()
    behind = at + 2 + 12 * len(tags) + 4
    for tag in tags:
        if tag in pointers:
            tail += bytes(len(tail) % 2)
            value = struct.pack(f"{order}I", behind + len(tail))
            tail += pack_directory(pointers[tag], behind + len(tail))
            head += struct.pack(f"{order}HHI", tag, 4, 1) + value
            continue
        entry = entries[tag]
        if len(entry.data) <= 4:
            value = entry.data.ljust(4, b"\0")
        else:
            tail += bytes(len(tail) % 2)
            value = struct.pack(f"{order}I", behind + len(tail))
            tail += entry.data
        head += struct.pack(f"{order}HHI", tag, entry.kind, entry.count) + value
    return bytes(head + struct.pack(f"{order}I", directory.next) + tail)


def pack_exif(directory: Directory) -> bytes:
    """An EXIF block (without its prefix) of these directories."""
    mark = b"II*\0" if directory.order == "<" else b"MM\0*"
    return mark + struct.pack(f"{directory.order}I", 8) + pack_directory(directory, 8)


def entry_of(order: str, kind: int, *values: int) -> Entry:
    """An entry of kind 1 (BYTE), 3 (SHORT), 4 (LONG) or 5 (RATIONAL: numerators, denominators)."""
    count = len(values) // 2 if kind == 5 else len(values)
    letter = {1: "B", 3: "H", 4: "I", 5: "I"}[kind]
    return Entry(kind, count, struct.pack(f"{order}{len(values)}{letter}", *values))


def describe(directory: Directory) -> str:
    """What a page's samples are, for messages: such as "RGB, 16 bits, 4 samples"."""
    kind = directory.number(262, -1)
    bits = sorted(set(directory.numbers(258, (1,))))
    return (
        f"{_PHOTOMETRIC.get(kind, f'photometric {kind}')}, {'/'.join(map(str, bits))} bits, "
        f"{directory.number(277, 1)} samples, sample format {directory.number(339, 1)}, "
        f"compression {directory.number(259, 1)}"
    )


def reads_itself(directory: Directory) -> bool:
    """Whether `read_samples` reads the page: gray or RGB of whole samples that Pillow would cut to
    8 bits, take for alpha, or not know; the plain 8-bit kinds are Pillow's.

    InputError for samples that nobody here understands.
    """
    bits, samples = set(directory.numbers(258, (1,))), directory.number(277, 1)
    photometric = directory.number(262, -1)
    if max(bits) <= 16 and set(directory.numbers(339, (1,))) - {1, 4}:
        raise InputError(
            f"is a TIFF of signed or float samples ({describe(directory)}); {EXPECTED}"
        )
    if photometric not in (0, 1, 2) or bits not in ({8}, {16}):
        return False
    colours = 3 if photometric == 2 else 1
    return bits == {16} or samples != colours


EXPECTED = "expected gray or RGB of 8 or 16 bits, with or without alpha; convert it first"


def read_samples(data: bytes, directory: Directory) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels as stored, uint8 or uint16 [h,w,c], c = 1..4 (gray or RGB, alpha last); and notes.

    Understood: tag 284 planes beside or behind one another, 338 extra samples (alpha, alpha that is
    multiplied in, others: left out), 262 white as 0, the horizontal predictor, tiles and strips, in
    the lossless compressions. Pillow decodes each plane as gray, so that nothing is cut to 8 bits.
    Source: TIFF 6.0, sections 8, 14, 15, 18. InputError for other kinds.
    """
    bits = directory.number(258, 1)
    width, height = directory.number(256, 0), directory.number(257, 0)
    samples, planar = directory.number(277, 1), directory.number(284, 1)
    predictor = directory.number(317, 1)
    compression = directory.number(259, 1)
    known = compression in LOSSLESS and predictor in (1, 2) and directory.number(266, 1) == 1
    colours = 3 if directory.number(262, 1) == 2 else 1
    if not (known and planar in (1, 2) and colours <= samples <= 16):
        raise InputError(f"is a TIFF that cannot be read ({describe(directory)}); {EXPECTED}")
    if planar == 2 and samples > 1:
        parts = [
            _decode_plane(data, directory, width, height, bits, (k, samples))[:, :, None]
            for k in range(samples)
        ]
        stored = np.concatenate(parts, axis=2)
    else:
        flat = _decode_plane(data, directory, width * samples, height, bits, (0, 1), samples)
        stored = flat.reshape(height, width, samples)
    if predictor == 2:
        step = directory.number(322, width) or width
        for left in range(0, width, step):
            part = stored[:, left : left + step]
            np.cumsum(part, axis=1, dtype=stored.dtype, out=part)
    return _meaning(stored, directory, colours)


def with_tags(data: bytes, directory: Directory) -> bytes:
    """A classic TIFF of the same pixels with these tags alone, in one page."""
    order = directory.order
    at = len(data) + len(data) % 2
    if at > 0xFFFF0000:
        raise InputError("has more than 4 GB; save it in parts")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    packed = pack_directory(Directory(order, directory.entries), at)
    return b"".join([mark, struct.pack(f"{order}I", at), data[8:], bytes(at - len(data)), packed])


def pixels_alone(data: bytes, directory: Directory) -> bytes:
    """The TIFF with what its pixels need and nothing else: no text, no orientation, no page more.

    Pillow turns pixels by EXIF and XMP while it loads them, and fails where those are damaged.
    """
    entries = {}
    for tag, entry in directory.entries.items():
        if tag in _PIXEL_TAGS:
            if entry.kind in (13, 16, 18):  # BigTIFF's numbers, or pointers
                values = directory.numbers(tag)
                if max(values) > 0xFFFFFFFF:
                    raise InputError("is damaged or truncated: its strips lie outside of it")
                entry = entry_of(directory.order, 4, *values)
            entries[tag] = entry
    return with_tags(data, Directory(directory.order, entries))


def _decode_plane(
    data: bytes,
    directory: Directory,
    width: int,
    height: int,
    bits: int,
    part: tuple[int, int],
    factor: int = 1,
) -> np.ndarray:
    """One plane [height,width] by Pillow: the file with one more directory, which calls it gray.

    `part` (k, n): the k-th of n equal runs of strips or tiles; `factor`: by which tiles are wider.
    """
    from PIL import TiffImagePlugin

    order = directory.order
    tiled = 322 in directory.entries
    offsets, counts = (324, 325) if tiled else (273, 279)
    runs = {tag: directory.numbers(tag) for tag in (offsets, counts)}
    number = len(runs[offsets]) // part[1]
    chosen = slice(part[0] * number, (part[0] + 1) * number)
    entries = {
        256: entry_of(order, 4, width), 257: entry_of(order, 4, height),
        258: entry_of(order, 3, bits), 259: entry_of(order, 3, directory.number(259, 1)),
        262: entry_of(order, 3, 1), 277: entry_of(order, 3, 1), 284: entry_of(order, 3, 1),
    }  # fmt: skip
    try:
        for tag, values in runs.items():
            if values:
                entries[tag] = entry_of(order, 4, *values[chosen])
    except struct.error as error:  # beyond 4 GB, or no strips at all
        raise InputError("is damaged or truncated: its strips lie outside of it") from error
    if tiled:
        entries[322] = entry_of(order, 4, directory.number(322, 1) * factor)
        entries[323] = entry_of(order, 4, directory.number(323, 1))
    else:
        entries[278] = entry_of(order, 4, min(directory.number(278, height), height))
    whole = with_tags(data, Directory(order, entries))
    try:
        # Not through Image.open, which counts the samples of a row as so many pixels.
        with TiffImagePlugin.TiffImageFile(io.BytesIO(whole)) as image:
            image.load()
            plane = np.asarray(image)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error,
            RuntimeError, ArithmeticError) as error:  # fmt: skip
        raise InputError(f"is damaged or truncated: {error}") from error
    return np.array(plane, np.uint8 if bits == 8 else np.uint16)


def _meaning(
    stored: np.ndarray, directory: Directory, colours: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Samples by what they mean: colours first, white as the largest value, alpha last."""
    top = np.iinfo(stored.dtype).max
    pixels = stored[:, :, :colours]
    if directory.number(262, 1) == 0:
        pixels = top - pixels
    beyond = stored.shape[2] - colours
    if not beyond:
        return np.ascontiguousarray(pixels), ()
    said: Any = directory.numbers(338)
    # One more sample that nothing is said about: what other programs write is alpha.
    kinds = (said or ((2,) if beyond == 1 else ()))[:beyond]
    alphas = [i for i, kind in enumerate(kinds) if kind in (1, 2)]
    notes: tuple[str, ...] = ()
    lost = beyond - bool(alphas)
    if lost:
        notes = (f"{lost} extra sample{'s' * (lost > 1)} of no known meaning left out",)
    if not alphas:
        return np.ascontiguousarray(pixels), notes
    alpha = stored[:, :, colours + alphas[0], None]
    if kinds[alphas[0]] == 1:  # multiplied in: TIFF 6.0, section 18
        cover = np.maximum(alpha, 1).astype(np.float64)
        pixels = np.rint(np.minimum(pixels * (top / cover), top)).astype(stored.dtype)
    return np.concatenate([pixels, alpha], axis=2), notes
