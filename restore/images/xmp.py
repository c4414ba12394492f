"""XMP packets edited in place: properties set or taken out, every other byte as it was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from restore.errors import InputError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP_MM = "http://ns.adobe.com/xap/1.0/mm/"
STEVT = "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
_META = "adobe:ns:meta/"
TIFF_NS, EXIF_NS = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
MAX_PACKET, MAX_DEPTH, MAX_SPACES = 8 << 20, 100, 200
"""Most bytes of a packet, elements inside of one another, and namespaces of one element, that are
looked into; a packet beyond is kept as it is."""
_SIZES = {(TIFF_NS, "ImageWidth"): 0, (TIFF_NS, "ImageLength"): 1,
          (EXIF_NS, "PixelXDimension"): 0, (EXIF_NS, "PixelYDimension"): 1}  # fmt: skip
_GOOGLE = "http://ns.google.com/photos/1.0/"
# What points at bytes or pixels that the result does not have: films behind the photo, gain maps,
# depth maps, further pictures, the rest of a packet in other segments.
_STALE_SPACES = (
    _GOOGLE + "container/", _GOOGLE + "container/item/", _GOOGLE + "depthmap/",
    _GOOGLE + "image/", _GOOGLE + "audio/", _GOOGLE + "dynamicdepth/",
    "http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/",
    "http://ns.apple.com/pixeldatainfo/1.0/", "http://ns.adobe.com/xmp/note/",
)  # fmt: skip
_STALE_NAMES = (
    (_GOOGLE + "camera/", ("Micro", "Motion")),
    (_GOOGLE + "panorama/", ("Full", "Cropped", "Source", "Largest")),
)
SOURCE_TYPE = (IPTC_EXT, "DigitalSourceType")
_HISTORY = (XMP_MM, "History")
_TAG = re.compile(rb"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
_ATTRIBUTE = re.compile(rb"\s([^\s=\"'<>]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
Name = tuple[str, str]
"""Namespace and local name."""


def fit_pixels(xmp: bytes, width: int, height: int) -> bytes:
    """The packet for a result of `width` x `height` px without films, gain maps and so on.

    Pixel sizes are set, properties of `_STALE_SPACES` and `_STALE_NAMES` are taken out. A packet
    that cannot be read, or has none of them, comes back as it is.
    """
    try:
        data = _utf8(xmp)
        packet = _read(data)
    except InputError:
        return xmp
    edits = [(start, end, b"") for start, end in packet.stale]
    edits += [
        (start, end, str((width, height)[axis]).encode()) for start, end, axis in packet.sizes
    ]
    if not edits:
        return xmp
    for start, end, new in sorted(edits, reverse=True):
        data = data[:start] + new + data[end:]
    return data


def _is_stale(name: Name) -> bool:
    space, local = name
    return space in _STALE_SPACES or any(
        space == other and local.startswith(starts) for other, starts in _STALE_NAMES
    )


@dataclass
class _Packet:
    """Where things stand in a packet: byte offsets, `(first, behind the last)`."""

    about: str = ""
    rdf_end: int | None = None
    meta_end: int | None = None
    source_type: str | None = None
    source_element: tuple[int, int] | None = None
    source_attribute: tuple[int, int, str] | None = None
    history: bool = False
    history_end: int | None = None
    stale: list[tuple[int, int]] = field(default_factory=list)
    """Properties that do not hold for other pixels."""
    sizes: list[tuple[int, int, int]] = field(default_factory=list)
    """Values of pixel sizes; 0 for a width, 1 for a height."""


def digital_source_type(xmp: bytes | None) -> str | None:
    """The IPTC digital source type that a packet states; None where it states none."""
    if not xmp:
        return None
    try:
        return _read(_utf8(xmp)).source_type
    except InputError:
        return None


def set_source_type(xmp: bytes | None, value: str, event: Mapping[str, str]) -> bytes:
    """State `Iptc4xmpExt:DigitalSourceType` and add one event to `xmpMM:History`.

    `event`: fields of an XMP ResourceEvent, such as action, softwareAgent, when, parameters.
    What the packet holds beside these two stays byte for byte; padding in front of its trailer is
    used up. Raises InputError for a packet that is not well-formed XML.
    Source: XMP specification part 1 (ISO 16684-1), 7; IPTC Photo Metadata, digital source type.
    """
    if not xmp or not xmp.strip():
        return _new_packet(value, event)
    data = _utf8(xmp)
    packet = _read(data)
    edits: list[tuple[int, int, bytes]] = []
    inner = b""
    if packet.source_attribute is not None:
        start, end, name = packet.source_attribute
        edits.append((start, end, f"{name}={quoteattr(value)}".encode()))
    elif packet.source_element is not None:
        edits.append((*packet.source_element, _source_element(value)))
    else:
        inner = _source_element(value)
    li = _event_element(event)
    if packet.history_end is not None:
        edits.append(_into(data, packet.history_end, li))
    elif not packet.history:  # one of an unknown form stays as it is: a second one is not allowed
        inner += _history_element(li)
    if inner:
        edits.append(_insertion(data, packet, _description(inner, packet.about)))
    for start, end, new in sorted(edits, reverse=True):
        data = data[:start] + new + data[end:]
    data = _use_padding(data, len(xmp))
    _read(data)  # what is written can be read
    return data


def _utf8(xmp: bytes) -> bytes:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if xmp.startswith(mark):
            return xmp.decode(encoding, "replace").encode()
    return xmp.rstrip(b"\0")


def _insertion(data: bytes, packet: _Packet, described: bytes) -> tuple[int, int, bytes]:
    """The edit that puts an rdf:Description into the packet's rdf:RDF, or a new one of those."""
    where = packet.rdf_end
    if where is None:
        where = packet.meta_end
        described = b'<rdf:RDF xmlns:rdf="%s">%s</rdf:RDF>' % (RDF.encode(), described)
    if where is None:
        raise InputError("is XML, but no XMP: it holds neither rdf:RDF nor x:xmpmeta")
    return _into(data, where, described)


def _into(data: bytes, where: int, new: bytes) -> tuple[int, int, bytes]:
    """Put `new` in front of the end tag at `where`, or into the empty element that stands there."""
    if data.startswith(b"</", where):
        return where, where, new
    match = _TAG.match(data, where)
    assert match is not None, "expat names the offsets of tags only"
    tag = match.group()
    name = re.split(rb"[\s/>]", tag[1:], maxsplit=1)[0]
    return where, match.end(), tag[:-2].rstrip() + b">" + new + b"</" + name + b">"


def _read(data: bytes) -> _Packet:
    """Find what has a place in the packet. Raises InputError where it is not well-formed."""
    packet, reader = _Packet(), _Reader(data)
    if len(data) > MAX_PACKET:
        raise InputError(f"has {len(data)} bytes; at most {MAX_PACKET} are looked into")
    if b"<!DOCTYPE" in data:
        raise InputError("holds a DOCTYPE, which XMP does not know")
    try:
        reader.read(packet)
    except expat.ExpatError as error:
        raise InputError(f"is not well-formed: {error}") from error
    return packet


class _Reader:
    """One pass over a packet that notes the offsets of what can be edited."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.parser = expat.ParserCreate()
        self.spaces: list[dict[str, str]] = [{"xml": "http://www.w3.org/XML/1998/namespace"}]
        self.path: list[Name] = []
        self.starts: list[int] = []
        self.text: list[str] = []

    def read(self, packet: _Packet) -> None:
        parser = self.parser
        parser.StartElementHandler = lambda name, attributes: self._start(packet, name, attributes)
        parser.EndElementHandler = lambda name: self._end(packet)
        parser.CharacterDataHandler = self.text.append
        parser.Parse(self.data, True)

    def _name(self, qualified: str, attribute: bool = False) -> Name:
        prefix, _, local = qualified.rpartition(":")
        if attribute and not prefix:
            return "", local
        if prefix and prefix not in self.spaces[-1]:
            raise InputError(f"is not well-formed: the prefix {prefix!r} is not declared")
        return self.spaces[-1].get(prefix, ""), local

    def _start(self, packet: _Packet, qualified: str, attributes: dict[str, str]) -> None:
        declared = {k[6:]: v for k, v in attributes.items() if k.startswith("xmlns:")}
        default = {"": attributes["xmlns"]} if "xmlns" in attributes else {}
        new = declared | default
        self.spaces.append(self.spaces[-1] | new if new else self.spaces[-1])
        if len(self.path) >= MAX_DEPTH or len(self.spaces[-1]) > MAX_SPACES:
            raise InputError(
                f"has more than {MAX_DEPTH} elements inside of one another, or {MAX_SPACES} "
                "namespaces"
            )
        name, start = self._name(qualified), self.parser.CurrentByteIndex
        self.path.append(name)
        self.starts.append(start)
        self.text.clear()
        for key, value in attributes.items():
            if not key.startswith("xmlns"):
                self._attribute(packet, key, value, start)
        packet.history = packet.history or (name == _HISTORY and self._is_property())

    def _attribute(self, packet: _Packet, key: str, value: str, start: int) -> None:
        name = self._name(key, attribute=True)
        if name == (RDF, "resource") and self.path[-1] == SOURCE_TYPE and self._is_property():
            packet.source_type = value
        if self.path[-2:] != [(RDF, "RDF"), (RDF, "Description")]:
            return
        if name == (RDF, "about"):
            packet.about = value
        if not (name == SOURCE_TYPE or name in _SIZES or _is_stale(name)):
            return
        tag = _TAG.match(self.data, start)
        assert tag is not None
        for found in _ATTRIBUTE.finditer(self.data, start, tag.end()):
            if found[1] != key.encode():
                continue
            if name == SOURCE_TYPE:
                packet.source_type = value
                packet.source_attribute = found.start(1), found.end(), key
            elif name in _SIZES:
                packet.sizes.append((found.start(2) + 1, found.end(2) - 1, _SIZES[name]))
            else:
                packet.stale.append((found.start(), found.end()))

    def _is_property(self) -> bool:
        """Is the element a property of the photo itself, not of something nested?"""
        return self.path[-3:-1] == [(RDF, "RDF"), (RDF, "Description")]

    def _close(self) -> tuple[int, int]:
        """Where the end tag of the current element begins, or all of it where it is empty, and
        where it ends."""
        first = _TAG.match(self.data, self.starts[-1])
        assert first is not None
        if first.group().endswith(b"/>"):
            return first.span()
        last = _TAG.match(self.data, self.parser.CurrentByteIndex)
        assert last is not None
        return last.span()

    def _end(self, packet: _Packet) -> None:
        name = self.path[-1]
        if name == (RDF, "RDF"):
            packet.rdf_end = self._close()[0]
        elif name == (_META, "xmpmeta"):
            packet.meta_end = self._close()[0]
        elif name == SOURCE_TYPE and self._is_property():
            packet.source_element = self.starts[-1], self._close()[1]
            packet.source_type = "".join(self.text).strip() or packet.source_type
        elif name in ((RDF, "Seq"), (RDF, "Bag")) and self.path[-2:-1] == [_HISTORY]:
            packet.history_end = self._close()[0]
        elif _is_stale(name) and self._is_property():
            packet.stale.append((self.starts[-1], self._close()[1]))
        elif name in _SIZES and self._is_property():
            first = _TAG.match(self.data, self.starts[-1])
            assert first is not None
            if not first.group().endswith(b"/>"):
                packet.sizes.append((first.end(), self._close()[0], _SIZES[name]))
        self.path.pop()
        self.starts.pop()
        self.spaces.pop()


def _source_element(value: str) -> bytes:
    return (
        f'<Iptc4xmpExt:DigitalSourceType xmlns:Iptc4xmpExt="{IPTC_EXT}">'
        f"{escape(value)}</Iptc4xmpExt:DigitalSourceType>"
    ).encode()


def _event_element(event: Mapping[str, str]) -> bytes:
    fields = "".join(f"<stEvt:{k}>{escape(v)}</stEvt:{k}>" for k, v in event.items())
    return (
        f'<rdf:li xmlns:rdf="{RDF}" xmlns:stEvt="{STEVT}" rdf:parseType="Resource">'
        f"{fields}</rdf:li>"
    ).encode()


def _history_element(li: bytes) -> bytes:
    opening = f'<xmpMM:History xmlns:xmpMM="{XMP_MM}"><rdf:Seq>'.encode()
    return opening + li + b"</rdf:Seq></xmpMM:History>"


def _description(inner: bytes, about: str) -> bytes:
    opening = f'<rdf:Description xmlns:rdf="{RDF}" rdf:about={quoteattr(about)}>'.encode()
    return opening + inner + b"</rdf:Description>"


def _new_packet(value: str, event: Mapping[str, str]) -> bytes:
    inner = _source_element(value) + _history_element(_event_element(event))
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        b'<x:xmpmeta xmlns:x="%s"><rdf:RDF xmlns:rdf="%s">%s</rdf:RDF></x:xmpmeta>'
        b'<?xpacket end="w"?>'
    ) % (_META.encode(), RDF.encode(), _description(inner, ""))


def _use_padding(data: bytes, former: int) -> bytes:
    """Take away as much of the white space before the trailer as the packet has grown."""
    grown, trailer = len(data) - former, data.rfind(b"<?xpacket end=")
    if grown <= 0 or trailer < 0:
        return data
    body = data[:trailer].rstrip()
    padding = data[len(body) : trailer]
    return body + padding[: max(1, len(padding) - grown)] + data[trailer:]
