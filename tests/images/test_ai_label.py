"""The AI label is in the file in every format that keeps XMP, and the kept metadata stays kept."""

from datetime import datetime, timezone

import pytest
from PIL import features

from restore.images.files import read_photo
from restore.images.formats import format_of
from restore.images.metadata import AI_COMPOSITE, AI_MADE, Metadata, ai_labelled
from restore.images.write import write_photo
from restore.images.xmp import digital_source_type
from tests.images.pictures import metadata, picture
from tests.images.test_files import exif_values
from tests.images.test_xmp import DC, packet

WHEN = datetime(2026, 11, 25, tzinfo=timezone.utc)
CREATOR = packet(
    f'<rdf:Description rdf:about="" {DC}><dc:creator>Zoë</dc:creator></rdf:Description>'
)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
@pytest.mark.parametrize("xmp", [None, CREATOR], ids=["none", "some"])
def test_the_label_is_in_the_file_beside_what_was_there(tmp_path, suffix, xmp):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    old = metadata(xmp=xmp)
    meta, notes = ai_labelled(old, 2, format_of(suffix), WHEN)
    assert notes == ()
    assert write_photo(tmp_path / f"a{suffix}", picture(3), meta) == ()
    read = read_photo(tmp_path / f"a{suffix}").metadata
    assert digital_source_type(read.xmp) == AI_COMPOSITE
    assert b"2 faces restored by a generative model" in read.xmp
    assert b"2026-11-25T00:00:00+00:00" in read.xmp
    assert xmp is None or "<dc:creator>Zoë</dc:creator>".encode() in read.xmp
    assert {0x0112: 1} | exif_values(read.exif) == exif_values(old.exif)
    assert read.icc == old.icc


def test_16_bit_png_has_it_as_well(tmp_path):
    meta, _ = ai_labelled(Metadata(), 1, format_of(".png"), WHEN)
    write_photo(tmp_path / "a.png", picture(3, "uint16"), meta)
    assert digital_source_type(read_photo(tmp_path / "a.png").metadata.xmp) == AI_COMPOSITE


def test_a_photo_that_is_all_ai_stays_so_and_a_former_type_is_told():
    png = format_of(".png")
    whole = packet(
        '<rdf:Description rdf:about="" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'i:DigitalSourceType="{AI_MADE}"/>'
    )
    assert digital_source_type(ai_labelled(Metadata(xmp=whole), 1, png)[0].xmp) == AI_MADE
    shot = whole.replace(AI_MADE.encode(), b"http://x/digitalCapture")
    new = ai_labelled(Metadata(xmp=shot), 1, png)[0].xmp
    assert digital_source_type(new) == AI_COMPOSITE
    assert b"DigitalSourceType was http://x/digitalCapture" in new


def test_where_no_label_can_be_it_is_said_and_nothing_is_lost():
    jpeg, bmp = format_of(".jpg"), format_of(".bmp")
    damaged = Metadata(xmp=b"<x:xmpmeta")
    kept, notes = ai_labelled(damaged, 1, jpeg)
    assert kept == damaged
    assert "without the AI label" in notes[0]
    filler = "x" * 65_000
    full = Metadata(xmp=packet(f'<rdf:Description rdf:about="">{filler}</rdf:Description>'))
    assert ai_labelled(full, 1, jpeg) == (
        full,
        ("the XMP packet leaves no room in a JPEG: without the AI label",),
    )
    assert digital_source_type(ai_labelled(full, 1, format_of(".png"))[0].xmp) == AI_COMPOSITE
    assert ai_labelled(Metadata(), 1, bmp) == (
        Metadata(),
        ("BMP holds no XMP: without the AI label",),
    )
