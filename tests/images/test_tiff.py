"""TIFF tags that change what samples mean, against tifffile; directories that never end."""

import io
import struct
import time

import numpy as np
import pytest

from restore.errors import InputError
from restore.images.files import decode_photo
from restore.images.tiff import MAX_PAGES
from restore.images.write import TiffPages
from tests.images.pictures import metadata, picture

tifffile = pytest.importorskip("tifffile", reason="no tifffile: the other reader is not installed")

LAYOUTS = ("contig", "separate")
STORED = [{}, {"compression": "deflate"}, {"compression": "deflate", "predictor": True},
          {"tile": (16, 16)}, {"tile": (16, 32), "compression": "deflate", "predictor": True},
          {"rowsperstrip": 5}]  # fmt: skip


def tiff(stored, channels, layout="contig", **options):
    """A TIFF of samples [h,w,c] by tifffile."""
    if channels == 1:
        stored = stored[..., 0]
    elif layout == "separate":
        stored = np.moveaxis(stored, -1, 0)
    out = io.BytesIO()
    wide = {"planarconfig": layout} if channels > 1 else {}
    tifffile.imwrite(out, stored, **wide, **options)
    return out.getvalue()


def joined(data):
    photo = decode_photo(data)
    return photo.joined(photo.pixels, photo.alpha), photo.notes


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "extra"), [(1, ()), (3, ()), (4, ("unassalpha",)),
                                                  (2, ("unassalpha",))])  # fmt: skip
def test_planes_beside_and_behind_one_another(channels, extra, dtype, layout, order):
    stored = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (37, 45, channels), dtype)
    photometric = "rgb" if channels >= 3 else "minisblack"
    for how in STORED:
        options = {"photometric": photometric, "byteorder": order, **how}
        data = tiff(stored, channels, layout, extrasamples=extra or None, **options)
        found, notes = joined(data)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, stored, err_msg=str(options))
        assert notes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_as_zero(dtype):
    stored = picture(1, dtype)
    found, _ = joined(tiff(stored, 1, photometric="miniswhite"))
    np.testing.assert_array_equal(found, np.iinfo(dtype).max - stored)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colours", [1, 3])
def test_extra_samples_by_their_meaning(colours, dtype, layout):
    top = np.iinfo(dtype).max
    stored = picture(colours + 1, dtype)
    stored[..., -1] = np.maximum(stored[..., -1], top // 2)
    photometric = "rgb" if colours == 3 else "minisblack"
    made = {"photometric": photometric, "layout": layout}

    found, notes = joined(tiff(stored, colours + 1, extrasamples=["unspecified"], **made))
    np.testing.assert_array_equal(found, stored[..., :-1])
    assert notes == ("1 extra sample of no known meaning left out",)

    multiplied = stored.copy()
    cover = stored[..., -1:] / top
    multiplied[..., :-1] = np.rint(stored[..., :-1] * cover)
    found, notes = joined(tiff(multiplied, colours + 1, extrasamples=["assocalpha"], **made))
    assert np.abs(found.astype(int) - stored).max() <= 2
    np.testing.assert_array_equal(found[..., -1], stored[..., -1])
    assert notes == ()

    five = picture(colours + 2, dtype)
    data = tiff(five, colours + 2, extrasamples=["unspecified", "unassalpha"], **made)
    found, notes = joined(data)
    np.testing.assert_array_equal(found, five[..., [*range(colours), colours + 1]])
    assert len(notes) == 1


def test_no_memory_of_the_photo_before_is_in_a_photo_read():
    secret = np.full((64, 64, 4), 54321, np.uint16)
    decode_photo(tiff(secret, 4, "separate", photometric="rgb", extrasamples=["unassalpha"]))
    zero = np.zeros((64, 64, 4), np.uint16)
    data = tiff(zero, 4, "separate", photometric="rgb", extrasamples=["unassalpha"])
    assert not joined(data)[0].any()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tiff(picture(1).astype(np.int16), 1, photometric="minisblack"), "signed or float"),
        (lambda: tiff(picture(3, np.uint16), 3, photometric="cielab"), "cannot be read.*Lab"),
        (
            lambda: tiff(picture(3).astype(np.float32), 3, photometric="rgb"),
            "cannot be read|32 bit",
        ),
    ],
)
def test_kinds_that_are_not_understood_are_refused_by_name(make, said):
    with pytest.raises(InputError, match=said):
        decode_photo(make())


def test_pages_are_written_and_counted_and_thumbnails_are_none():
    out = io.BytesIO()
    pages = [picture(3), picture(1, np.uint16)[..., 0], picture(4)]
    writer = TiffPages(out)
    for page in pages:
        assert writer.add(page, metadata()) == ()
        with tifffile.TiffFile(io.BytesIO(out.getvalue())) as read:  # whole after each
            np.testing.assert_array_equal(read.pages[-1].asarray(), page)
    for number, page in enumerate(pages):
        photo = decode_photo(out.getvalue(), page=number)
        assert f"page {number + 1} of 3" in photo.notes
        np.testing.assert_array_equal(np.squeeze(photo.joined(photo.pixels, photo.alpha)), page)
        assert b"Leica" in photo.metadata.exif
    with pytest.raises(InputError, match="no page 4; it holds 3"):
        decode_photo(out.getvalue(), page=3)
    small = io.BytesIO()
    with tifffile.TiffWriter(small) as file:
        file.write(picture(3), photometric="rgb")
        file.write(picture(3, height=8, width=8), photometric="rgb", subfiletype=1)
    assert decode_photo(small.getvalue()).notes == ()


@pytest.mark.parametrize("tag", [(700, 4, 3, (1, 2, 300)), (34675, 4, 1, 5), (700, 12, 1, 1.5)])
def test_text_tags_that_hold_numbers_cost_no_photo(tag):
    data = tiff(picture(3), 3, photometric="rgb", extratags=[(*tag, True)])
    photo = decode_photo(data)
    np.testing.assert_array_equal(photo.pixels, picture(3))
    assert photo.metadata.xmp is None


def directories(count: int) -> bytes:
    """A TIFF with as many empty directories."""
    step = 2 + 4
    chain = [struct.pack("<HI", 0, 8 + (i + 1) * step) for i in range(count - 1)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(chain) + struct.pack("<HI", 0, 0)


def nested_exif(count: int) -> bytes:
    """EXIF whose directories each point at the next one, and at all others."""
    entries = 60
    size = 2 + 12 * entries + 4
    parts = []
    for i in range(count):
        at = 8 + ((i + 1) % count) * size
        parts.append(struct.pack("<H", entries) + struct.pack("<HHII", 0x8769, 4, 1, at) * entries)
        parts.append(struct.pack("<I", 8 + ((i + 2) % count) * size))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(parts)


def test_what_has_no_end_costs_no_time():
    start = time.monotonic()
    with pytest.raises(InputError, match=f"more than {MAX_PAGES} pages"):
        decode_photo(directories(100_000))
    from PIL import Image

    for kind in ("JPEG", "PNG", "WEBP"):
        out = io.BytesIO()
        Image.fromarray(picture(3)).save(out, kind, exif=b"Exif\0\0" + nested_exif(80))
        photo = decode_photo(out.getvalue())
        from restore.images.formats import format_of
        from restore.images.write import encode_photo

        for suffix in (".tif", ".jpg", ".png"):
            encode_photo(photo.pixels, format_of(suffix), photo.metadata)
    assert time.monotonic() - start < 3
