"""Files that are made to do harm, or are good and were refused: each kind by its smallest input."""

import io
import os
import socket
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from restore.errors import InputError, OptionError
from restore.images.files import decode_photo, open_picture, read_photo, read_regular
from restore.images.formats import content_format, why_ignored
from restore.images.metadata import Metadata
from restore.images.photo import Limits, photo_from_pil
from restore.images.write import atomic_file, write_atomically, write_photo
from restore.images.xmp import digital_source_type, fit_pixels, set_source_type
from tests.images.pictures import metadata, picture
from tests.images.test_xmp import DC, EVENT, VALUE, packet


def saved(kind, image=None, **options):
    out = io.BytesIO()
    (image or Image.fromarray(picture(3))).save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes, check: int | None = None) -> bytes:
    found = zlib.crc32(kind + data) if check is None else check
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", found)


def with_chunk(png: bytes, extra: bytes) -> bytes:
    """The PNG with one more chunk behind its header."""
    return png[:33] + extra + png[33:]


# Regular files of known formats


@pytest.mark.parametrize(
    "data",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
     b"\xc5\xd0\xd3\xc6" + bytes(60), b"8BPS\0\1" + bytes(40), b"\0\0\1\0\1\0" + bytes(40),
     b"/* XPM */\nstatic char * a[] = {", b"SIMPLE  =                    T"],
)  # fmt: skip
def test_no_other_format_is_opened_whatever_its_name(tmp_path, monkeypatch, data):
    def no_process(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.jpg: (is PostScript|is no image)"):
        read_photo(tmp_path / "a.jpg")


def test_the_content_decides_on_the_format():
    for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "TGA"):
        data = saved(kind)
        assert content_format(data) == kind
        with open_picture(data) as image:
            assert image.format == kind
    assert content_format(b"Dear grandma, this is only a letter") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.jpg"))
        os.symlink("/dev/zero", tmp_path / "zero.jpg")
        os.symlink(tmp_path / "round.jpg", tmp_path / "round.jpg")
        start = time.monotonic()
        for name, said in (("pipe", "regular"), ("s", "cannot be read"), ("zero", "regular"),
                           ("round", "cannot be read")):  # fmt: skip
            with pytest.raises(InputError, match=said):
                read_photo(tmp_path / f"{name}.jpg")
        assert time.monotonic() - start < 1
    for bad in ("x" * 300 + ".jpg", "a\0b.jpg"):
        with pytest.raises(InputError, match="cannot be read"):
            read_photo(tmp_path / bad)


def test_the_size_of_a_file_is_looked_at_before_it_is_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(1 << 40)  # a hole: no disk is taken
    with pytest.raises(InputError, match="1099511627776 bytes; at most"):
        read_photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(bytes(11))
    with pytest.raises(InputError, match="11 bytes; at most 10"):
        read_regular(tmp_path / "b.png", 10)


# Limits


def test_megapixels_of_photo_and_result_are_checked_before_decoding(monkeypatch):
    data = saved("PNG", Image.new("L", (3000, 1000)))

    def load(_):
        raise AssertionError("it was decoded")

    monkeypatch.setattr("restore.images.files.load_pixels", load)
    with pytest.raises(InputError, match=r"3 megapixels; at most 2 .*max_megapixels\) to 3"):
        decode_photo(data, Limits(megapixels=2))
    with pytest.raises(
        InputError, match=r"scale 3 would be 27 megapixels; .*max_megapixels\) to 11"
    ):
        decode_photo(data, Limits(megapixels=4, scale=3))
    monkeypatch.undo()
    assert decode_photo(data, Limits(megapixels=11, scale=3)).size == (3000, 1000)
    for wrong in (0, -1, float("nan"), "5"):
        with pytest.raises(OptionError, match="max megapixels"):
            Limits(megapixels=wrong)


def test_sixteen_bits_count_twice(tmp_path):
    write_photo(tmp_path / "a.png", np.zeros((1000, 1500, 3), np.uint16))
    write_photo(tmp_path / "a.tif", np.zeros((1000, 1500), np.uint16))
    for name in ("a.png", "a.tif"):
        with pytest.raises(InputError, match="16-bit pixels count twice"):
            read_photo(tmp_path / name, Limits(megapixels=2))


def test_xmp_that_is_nested_is_not_looked_into():
    deep = b"".join(b'<a%d xmlns:n%d="x">' % (i, i) for i in range(20_000))
    wide = b"<a " + b"".join(b'xmlns:n%d="x" ' % i for i in range(20_000)) + b"/>"
    start = time.monotonic()
    for hostile in (deep, wide, b"<a>" * 5_000_000):
        xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + hostile + b"</x:xmpmeta>"
        assert fit_pixels(xmp, 5, 5) == xmp
        assert digital_source_type(xmp) is None
        with pytest.raises(InputError):
            set_source_type(xmp, VALUE, EVENT)
    assert time.monotonic() - start < 3


# Damaged, but every viewer shows it


def test_a_jpeg_without_its_end_is_restored_with_a_note():
    data = saved("JPEG", Image.fromarray(picture(3, height=240, width=200)), quality=95)
    whole = decode_photo(data)
    assert whole.notes == ()
    cut = decode_photo(data[:-2])
    np.testing.assert_array_equal(cut.pixels, whole.pixels)
    assert "cut at its end" in cut.notes[0]
    less = decode_photo(data[: len(data) * 3 // 4])
    np.testing.assert_array_equal(less.pixels[:140], whole.pixels[:140])
    assert "of the picture is gray" in less.notes[0]
    with pytest.raises(InputError, match="truncated"):
        decode_photo(data[: len(data) // 3])
    with pytest.raises(InputError, match="truncated"):
        decode_photo(data[:-2], Limits(strict=True))


def test_a_png_with_a_damaged_text_is_restored_with_a_note():
    data = saved("PNG")
    spoilt = with_chunk(data, chunk(b"tEXt", b"Title\0Oma", 7))
    photo = decode_photo(spoilt)
    np.testing.assert_array_equal(photo.pixels, picture(3))
    assert photo.notes == ("its chunks tEXt are damaged and were left out",)
    with pytest.raises(InputError):
        decode_photo(spoilt, Limits(strict=True))
    np.testing.assert_array_equal(decode_photo(data[:-12]).pixels, picture(3))  # no IEND
    at = data.index(b"IDAT") + 8
    with pytest.raises(InputError):  # the picture itself
        decode_photo(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])


# Good, and refused before


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
@pytest.mark.parametrize("name", ["exif", "transparency", "dpi", "icc_profile", "gamma", "xmp"])
def test_png_texts_may_have_any_name(name, kind):
    text = {"tEXt": b"\0some words", "zTXt": b"\0\0" + zlib.compress(b"some words"),
            "iTXt": b"\0\0\0\0\0some words"}[kind]  # fmt: skip
    palette = Image.fromarray(picture(3)).quantize(16)
    data = with_chunk(saved("PNG"), chunk(kind.encode(), name.encode() + text))
    photo = decode_photo(data)
    np.testing.assert_array_equal(photo.pixels, picture(3))
    assert photo.metadata.text == ((name, "some words"),)
    # The true transparency of a file with such a text is kept.
    clear = saved("PNG", palette, transparency=0)
    both = with_chunk(clear, chunk(kind.encode(), name.encode() + text))
    np.testing.assert_array_equal(decode_photo(both).alpha, decode_photo(clear).alpha)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(photo_from_pil(opened).pixels, picture(3))


def test_imagemagicks_exif_is_applied_once(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n    {len(raw)}\n{raw.hex()}\n")
    photo = decode_photo(saved("PNG", pnginfo=info))
    assert photo.size == (24, 33)
    write_photo(tmp_path / "a.png", photo.pixels, photo.metadata)
    assert read_photo(tmp_path / "a.png").size == (24, 33)


def test_a_cmyk_jpeg_with_a_bad_profile_is_read_without_it():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    false = srgb[:16] + b"CMYK" + srgb[20:]
    cmyk = Image.fromarray(picture(3)).convert("CMYK")
    for icc in (false, b"no profile"):
        data = saved("JPEG", cmyk, quality=98, icc_profile=icc)
        photo = decode_photo(data)
        assert "without its profile" in photo.notes[0]
        assert np.abs(photo.pixels.astype(int) - picture(3)).mean() < 6
        with Image.open(io.BytesIO(data)) as opened:
            np.testing.assert_array_equal(photo_from_pil(opened).pixels, photo.pixels)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_is_said(kind):
    frames = [Image.fromarray(np.roll(picture(3), 9 * i, 1)) for i in range(3)]
    data = saved(kind, frames[0], save_all=True, append_images=frames[1:])
    photo = decode_photo(data)
    assert any("animation" in note for note in photo.notes)


def test_ignored_files_have_a_reason():
    assert why_ignored("a.jpg") is None
    for name, said in (("a.CR2", "raw photo"), ("a.mp4", "film"), ("a.jxl", "not read"),
                       (".a.jpg", "hidden"), ("notes.txt", "no photo")):  # fmt: skip
        assert said in why_ignored(name)


# What the result says of itself


def test_the_xmp_of_a_result_tells_nothing_that_no_longer_holds():
    camera = "http://ns.google.com/photos/1.0/camera/"
    inside = (
        f'<rdf:Description rdf:about="" {DC} xmlns:GCamera="{camera}" GCamera:MotionPhoto="1" '
        f'GCamera:MicroVideoOffset="4711" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
        'hdrgm:Version="1.0" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:ImageWidth="33" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:PixelYDimension=\'24\' dc:format="kept">'
        "<tiff:ImageLength>24</tiff:ImageLength><dc:title>kept too</dc:title>"
        '<Container:Directory xmlns:Container="http://ns.google.com/photos/1.0/container/">'
        "<rdf:Seq><rdf:li>film</rdf:li></rdf:Seq></Container:Directory></rdf:Description>"
    )
    new = fit_pixels(packet(inside), 66, 48)
    for gone in (b"MotionPhoto", b"4711", b"hdrgm:Version", b"film", b'"33"', b">24<", b"'24'"):
        assert gone not in new
    for kept in (b'dc:format="kept"', b"<dc:title>kept too</dc:title>", b'tiff:ImageWidth="66"',
                 b"<tiff:ImageLength>48<", b"exif:PixelYDimension='48'"):  # fmt: skip
        assert kept in new
    assert digital_source_type(set_source_type(new, VALUE, EVENT)) == VALUE
    plain = metadata().xmp
    assert fit_pixels(plain, 1, 1) == plain
    assert Metadata(xmp=packet(inside)).upright(66, 48).xmp == new


# Writing


def test_a_new_file_replaces_nothing_that_was_not_known(tmp_path):
    write_atomically(tmp_path / "a.png", b"1", replace_file=False)
    with pytest.raises(InputError, match="is there already"):
        write_atomically(tmp_path / "a.png", b"2", replace_file=False)
    assert (tmp_path / "a.png").read_bytes() == b"1"
    write_atomically(tmp_path / "a.png", b"3")
    assert (tmp_path / "a.png").read_bytes() == b"3"
    assert os.listdir(tmp_path) == ["a.png"]


def test_unfinished_files_of_killed_runs_are_cleared_away(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from restore.images.write import atomic_file\n"
        "with atomic_file(Path(sys.argv[1]) / 'a.png') as file: os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 9
    (left,) = os.listdir(tmp_path)
    assert left.endswith(".part")
    with atomic_file(tmp_path / "b.png") as file:
        own = {name for name in os.listdir(tmp_path) if name.endswith(".part")}
        assert len(own - {left}) == 1  # the one at work stays
        file.write(b"x")
    assert os.listdir(tmp_path) == ["b.png"]
