"""XMP packets: the source type and the history are merged in, everything else stays."""

import re
from xml.etree import ElementTree

import pytest

from restore.errors import InputError
from restore.images.xmp import IPTC_EXT, RDF, STEVT, XMP_MM, digital_source_type, set_source_type

VALUE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
EVENT = {"action": "edited", "softwareAgent": "restore <1>", "parameters": "a & b"}
HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'


def packet(inside: str, rdf: str = "rdf", padding: int = 0) -> bytes:
    text = (
        f'{HEAD}<x:xmpmeta xmlns:x="adobe:ns:meta/"><{rdf}:RDF xmlns:{rdf}="{RDF}">{inside}'
        f'</{rdf}:RDF></x:xmpmeta>{" " * padding}<?xpacket end="w"?>'
    )
    return text.encode()


def events(xmp: bytes) -> list[str]:
    root = ElementTree.fromstring(xmp)
    seqs = root.findall(f".//{{{XMP_MM}}}History/{{{RDF}}}Seq")
    assert len(seqs) == 1
    return [li.findtext(f"{{{STEVT}}}action") for li in seqs[0]]


def types(xmp: bytes) -> list[str]:
    """All source types of a packet, by another parser than the one in use."""
    name = f"{{{IPTC_EXT}}}DigitalSourceType"
    nodes = ElementTree.fromstring(xmp).iter()
    return [text for n in nodes for text in (n.get(name), n.tag == name and n.text) if text]


@pytest.mark.parametrize("nothing", [None, b"", b"  \n"])
def test_a_packet_is_made_where_there_is_none(nothing):
    made = set_source_type(nothing, VALUE, EVENT)
    assert types(made) == [VALUE]
    assert digital_source_type(made) == VALUE
    assert events(made) == ["edited"]
    agent = ElementTree.fromstring(made).findtext(f".//{{{STEVT}}}softwareAgent")
    assert agent == "restore <1>"


OLD = [
    '<rdf:Description rdf:about="uuid:1" ' + DC + "><dc:creator>Zoë</dc:creator></rdf:Description>",
    f'<rdf:Description rdf:about="" {DC} xmlns:i="{IPTC_EXT}" dc:format="a>b" '
    "i:DigitalSourceType='http://x/digitalCapture'/>",
    f'<rdf:Description rdf:about=""><i:DigitalSourceType xmlns:i="{IPTC_EXT}">http://x/digitalCapture'
    "</i:DigitalSourceType><!-- a comment --></rdf:Description>",
    f'<rdf:Description rdf:about=""><i:DigitalSourceType xmlns:i="{IPTC_EXT}" '
    'rdf:resource="http://x/digitalCapture"/></rdf:Description>',
    f'<rdf:Description rdf:about="" xmlns:m="{XMP_MM}" xmlns:e="{STEVT}"><m:History><rdf:Seq>'
    '<rdf:li rdf:parseType="Resource"><e:action>saved</e:action></rdf:li>'
    "</rdf:Seq></m:History></rdf:Description>",
]  # fmt: skip


@pytest.mark.parametrize("inside", OLD)
def test_what_was_there_stays_byte_for_byte(inside):
    old = packet(inside)
    new = set_source_type(old, VALUE, EVENT)
    assert types(new) == [VALUE]
    assert digital_source_type(new) == VALUE
    assert digital_source_type(old) == ("http://x/digitalCapture" if "Capture" in inside else None)
    assert events(new) == (["saved", "edited"] if "saved" in inside else ["edited"])
    for piece in ('rdf:about="', "<dc:creator>Zoë</dc:creator>", 'dc:format="a>b"', "a comment"):
        assert (piece in inside) <= (piece.encode() in new)
    if "Capture" not in inside:
        pieces = re.split(rb"(?=</rdf:Seq>|</rdf:RDF>)", old)
        assert re.fullmatch(b".*".join(map(re.escape, pieces)), new, re.DOTALL)
    about = ElementTree.fromstring(new).iter(f"{{{RDF}}}Description")
    assert len({node.get(f"{{{RDF}}}about") for node in about}) == 1
    again = set_source_type(new, VALUE, EVENT)
    assert types(again) == [VALUE]
    assert events(again)[-2:] == ["edited", "edited"]


def test_other_prefixes_and_empty_elements():
    odd = packet("", rdf="R")
    assert types(set_source_type(odd, VALUE, EVENT)) == [VALUE]
    empty = f'<rdf:RDF xmlns:rdf="{RDF}" />'.encode()
    assert events(set_source_type(empty, VALUE, EVENT)) == ["edited"]
    bare = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="T"/>'
    made = set_source_type(bare, VALUE, EVENT)
    assert b'x:xmptk="T"' in made
    assert types(made) == [VALUE]
    default = f'<RDF xmlns="{RDF}"></RDF>'.encode()
    assert types(set_source_type(default, VALUE, EVENT)) == [VALUE]
    utf16 = packet("").decode().encode("utf-16")
    assert types(set_source_type(utf16, VALUE, EVENT)) == [VALUE]


def test_nested_source_types_are_not_the_photos():
    nested = packet(
        f'<rdf:Description rdf:about="" xmlns:m="{XMP_MM}"><m:Pantry><rdf:Bag><rdf:li '
        f'rdf:parseType="Resource"><i:DigitalSourceType xmlns:i="{IPTC_EXT}">http://x/inner'
        "</i:DigitalSourceType></rdf:li></rdf:Bag></m:Pantry></rdf:Description>"
    )
    assert digital_source_type(nested) is None
    assert types(set_source_type(nested, VALUE, EVENT)) == ["http://x/inner", VALUE]


def test_padding_is_used_up():
    roomy = packet("", padding=4000)
    assert len(set_source_type(roomy, VALUE, EVENT)) == len(roomy)
    tight = packet("", padding=10)
    assert len(set_source_type(tight, VALUE, EVENT)) > len(tight)


@pytest.mark.parametrize(
    "broken",
    [
        b"<x:xmpmeta",
        b"not XML",
        b"<a/>",
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>',
        b'<!DOCTYPE a [<!ENTITY b "c">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&b;</x:xmpmeta>',
    ],
)
def test_packets_that_cannot_be_read_are_said(broken):
    with pytest.raises(InputError):
        set_source_type(broken, VALUE, EVENT)
    assert digital_source_type(broken) is None
