"""What a photo file says beside its pixels: EXIF, XMP, ICC profile, IPTC, resolution, text."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

EXIF_PREFIX = b"Exif\x00\x00"
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
"""What the XMP segment of a JPEG begins with."""
ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
# IFD0 tags that describe how a TIFF stores its pixels, not the photo: they never travel.
# fmt: off
_STRUCTURAL_TAGS = frozenset([
    254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284,
    290, 291, 292, 293, 296, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 334,
    338, 339, 340, 341, 342, 347, 529, 530, 531, 532, 700, 33723, 34377, 34675,
])
# fmt: on


_BROKEN_EXIF = (
    struct.error, SyntaxError, TypeError, ValueError, AttributeError, LookupError, OSError,
    ArithmeticError,
)  # fmt: skip
"""What Pillow raises on EXIF blocks that are damaged."""


@dataclass(frozen=True)
class Metadata:
    """Everything that is carried from the file read to the file written."""

    exif: bytes | None = None
    """TIFF structure of the EXIF block, behind the prefix `Exif\\0\\0`."""
    xmp: bytes | None = None
    """XMP packet, UTF-8 XML."""
    icc: bytes | None = None
    """ICC profile of the pixels."""
    dpi: tuple[float, float] | None = None
    """Dots per inch, x and y."""
    iptc: bytes | None = None
    """Photoshop resource block (JPEG APP13 payload), which holds the IPTC captions."""
    text: tuple[tuple[str, str], ...] = ()
    """PNG text chunks, keyword and text."""

    def upright(self, width: int, height: int) -> Metadata:
        """The same for pixels that stand upright and measure `width` x `height` px."""
        exif, xmp = self.exif, self.xmp
        if exif is not None:
            sizes = {ORIENTATION: 1, _PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
            exif = set_exif_integers(exif, sizes)
        if xmp is not None:
            xmp = re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))[1-8]", rb"\g<1>1", xmp)
        return replace(self, exif=exif, xmp=xmp)


def read_metadata(image: Any) -> tuple[Metadata, tuple[str, ...]]:
    """Collect the metadata of a PIL image (a TIFF: before its pixels are loaded).

    Also returned, in words: what of it is damaged and therefore left out.
    """
    damaged: tuple[str, ...] = ()
    info = image.info
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or _xmp_of_jpeg(image)
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8")
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    if tags is not None:
        try:
            exif = _exif_of_tiff(image)
        except _BROKEN_EXIF:
            exif, damaged = None, ("the EXIF block is damaged: not kept",)
        raw_xmp = tags.get(700)
        xmp = xmp or (bytes(raw_xmp) if isinstance(raw_xmp, (bytes, tuple)) else None)
    else:
        exif = info.get("exif") or None
        if exif is None and not image.format:  # a PIL image made in memory
            block = image.getexif()
            exif = block.tobytes() if len(block) else None
    if exif is not None and not exif.startswith(EXIF_PREFIX):
        exif = EXIF_PREFIX + exif
    dpi = None if tags is not None and 282 not in tags else _dpi(info.get("dpi"))
    icc = info.get("icc_profile")
    metadata = Metadata(
        exif=exif,
        xmp=xmp or None,
        icc=icc if isinstance(icc, bytes) and icc else None,
        dpi=dpi,
        iptc=_iptc(image),
        text=_text(image),
    )
    return metadata, damaged


def exif_is_sound(exif: bytes) -> bool:
    """Whether an EXIF block can be taken apart and put together again, as a TIFF file needs."""
    from PIL import Image

    block = Image.Exif()
    try:
        block.load(exif)
        block.tobytes()
    except _BROKEN_EXIF:
        return False
    return True


def orientation_of(image: Any) -> int:
    """EXIF orientation 1..8 of a PIL image; 1 where there is none or it is not in that range."""
    try:
        value = int(image.getexif().get(ORIENTATION, 1))
    except _BROKEN_EXIF:
        return 1
    return value if 1 <= value <= 8 else 1


def set_exif_integers(exif: bytes, values: Mapping[int, int]) -> bytes:
    """Overwrite SHORT or LONG tags that IFD0 or the Exif IFD already hold; the rest stays as it is.

    Patching in place keeps maker notes, whose inner offsets a re-written block would break.
    A block that is malformed comes back unchanged.
    """
    start = len(EXIF_PREFIX) if exif.startswith(EXIF_PREFIX) else 0
    body = bytearray(exif[start:])
    order = {b"II": "<", b"MM": ">"}.get(bytes(body[:2]))
    if order is None:
        return exif
    try:
        pending = [struct.unpack_from(order + "I", body, 4)[0]]
        seen: set[int] = set()
        while pending:
            offset = pending.pop()
            if offset in seen:
                continue
            seen.add(offset)
            (count,) = struct.unpack_from(order + "H", body, offset)
            for entry in range(offset + 2, offset + 2 + 12 * count, 12):
                tag, kind, length = struct.unpack_from(order + "HHI", body, entry)
                if tag == _EXIF_IFD:
                    pending.append(struct.unpack_from(order + "I", body, entry + 8)[0])
                elif tag in values and length == 1 and kind in (3, 4):
                    if kind == 3 and values[tag] > 0xFFFF:
                        continue
                    struct.pack_into(
                        order + ("H" if kind == 3 else "I"), body, entry + 8, values[tag]
                    )
    except struct.error:
        return exif
    return exif[:start] + bytes(body)


def _exif_of_tiff(image: Any) -> bytes | None:
    from PIL import Image

    block = Image.Exif()
    # A copy: Pillow still needs the file's own tags when it loads and turns the pixels.
    block.load(image.getexif().tobytes())
    for tag in [tag for tag in block if tag in _STRUCTURAL_TAGS]:
        del block[tag]
    return block.tobytes() if len(block) else None


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        x, y = float(value[0]), float(value[1])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


def _xmp_of_jpeg(image: Any) -> bytes | None:
    """Pillow before 11 leaves the packet of a JPEG in its list of segments."""
    for name, data in getattr(image, "applist", []):
        if name == "APP1" and data.startswith(XMP_SEGMENT):
            return data[len(XMP_SEGMENT) :]
    return None


def _iptc(image: Any) -> bytes | None:
    blocks = [data for name, data in getattr(image, "applist", []) if name == "APP13"]
    return blocks[0] if blocks else None


def _text(image: Any) -> tuple[tuple[str, str], ...]:
    if image.format != "PNG":
        return ()
    chunks = image.info.items()
    named = getattr(image, "_text", None) or {k: v for k, v in chunks if isinstance(v, str)}
    return tuple((k, str(v)) for k, v in named.items() if k != "XML:com.adobe.xmp")
