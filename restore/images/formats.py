"""The file formats of photos: suffixes, how the bytes of each begin, what each can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from restore.errors import InputError

MAX_MEGAPIXELS = 50.0
"""Most pixels of a photo in millions, unless more are asked for (`images.photo.Limits`)."""


@dataclass(frozen=True)
class Format:
    """What one file format can hold."""

    name: str
    """Pillow's name of it."""
    suffixes: tuple[str, ...]
    alpha: bool = True
    depth16: bool = False
    metadata: bool = True
    max_side: int = 2**31 - 1


FORMATS = (
    Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), alpha=False, max_side=65535),
    Format("PNG", (".png",), depth16=True),
    Format("TIFF", (".tif", ".tiff"), depth16=True),
    Format("WEBP", (".webp",), max_side=16383),
    Format("BMP", (".bmp",), alpha=False, metadata=False),
    Format("AVIF", (".avif",), max_side=65536),
)
# Read where the installed Pillow (or pillow-heif) can, never written: their results become PNG.
READ_ONLY_SUFFIXES = (".heic", ".heif", ".gif", ".jp2", ".ppm", ".pgm", ".tga")
WRITABLE_SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)
PHOTO_SUFFIXES = WRITABLE_SUFFIXES + READ_ONLY_SUFFIXES
"""A folder walk takes files with these (lower-case) suffixes for photos."""
PLUGINS = {
    "JPEG": "Jpeg", "PNG": "Png", "TIFF": "Tiff", "WEBP": "WebP", "BMP": "Bmp", "GIF": "Gif",
    "AVIF": "Avif", "JPEG2000": "Jpeg2K", "PPM": "Ppm", "TGA": "Tga",
}  # fmt: skip
"""Pillow's plugins that may read a photo, by the format's name; no other ever does."""
_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
)
_NOT_READ = {
    "a raw photo of a camera, which is not read; develop it to TIFF first": (
        ".arw", ".cr2", ".cr3", ".crw", ".dng", ".nef", ".orf", ".pef", ".raf", ".raw", ".rw2",
        ".srw",
    ),
    "a film, which is not read; take frames out of it first": (
        ".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm",
    ),
    "of a kind that is not read; convert it to PNG, JPEG or TIFF first": (
        ".eps", ".exr", ".hdr", ".ico", ".jxl", ".jxr", ".pdf", ".ps", ".psb", ".psd", ".svg",
        ".xcf",
    ),
}  # fmt: skip


def format_of(suffix: str) -> Format:
    """The format of a suffix such as ".jpg", in any case; InputError for one nobody writes."""
    for known in FORMATS:
        if suffix.lower() in known.suffixes:
            return known
    raise InputError(
        f"cannot write files that end in {suffix!r}; expected one of {', '.join(WRITABLE_SUFFIXES)}"
    )


def written_suffix(name: str | PurePath) -> str:
    """The suffix of a photo's result: its own where that can be written, else ".png"."""
    suffix = PurePath(name).suffix
    return suffix if suffix.lower() in WRITABLE_SUFFIXES else ".png"


def why_ignored(name: str | PurePath) -> str | None:
    """Why a file in a folder is no photo by its name; None where it is one."""
    path = PurePath(name)
    if path.name.startswith("."):
        return "hidden"
    suffix = path.suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        return None
    for reason, suffixes in _NOT_READ.items():
        if suffix in suffixes:
            return reason
    return "no photo by its name"


def content_format(data: bytes) -> str | None:
    """The format that the bytes of a file are in, by themselves; None where it is no photo's.

    A name of `PLUGINS`, or "HEIF". TGA has no mark at its beginning: its header must be sound.
    """
    start = bytes(data[:32])
    for mark, name in _STARTS:
        if start.startswith(mark):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[4:8] == b"ftyp":
        brands = {start[8:12], *(start[i : i + 4] for i in range(16, 32, 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        return "HEIF" if brands & {b"heic", b"heix", b"hevc", b"mif1", b"msf1"} else None
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3] in b" \t\r\n#":
        return "PPM"
    return "TGA" if _is_tga(data) else None


def _is_tga(data: bytes) -> bool:
    """Truevision TGA 2.0: its footer, or a header in which every field has a value it may have."""
    if len(data) < 18:
        return False
    if bytes(data[-18:-2]) == b"TRUEVISION-XFILE":
        return True
    has_map, kind, depth, flags = data[1], data[2], data[16], data[17]
    sides = (int.from_bytes(data[i : i + 2], "little") for i in (12, 14))
    return (
        (has_map, kind) in ((0, 2), (0, 3), (1, 1), (0, 10), (0, 11), (1, 9))
        and depth in (8, 16, 24, 32)
        and flags & 0xC0 == 0
        and all(sides)
    )
