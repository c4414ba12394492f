"""Every kind of photo file: pixels, depth, alpha, gray, orientation and metadata there and back."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin, features

from restore.images.files import decode_photo, read_photo
from restore.images.metadata import Metadata
from restore.images.write import WriteOptions, write_photo
from tests.images.pictures import IPTC, XMP, metadata, picture


def exif_values(raw: bytes) -> dict:
    block = Image.Exif()
    block.load(raw)
    main = {k: v for k, v in block.items() if k not in (0x8769, 0x8825)}
    return main | {"exif": dict(block.get_ifd(0x8769)), "gps": dict(block.get_ifd(0x8825))}


LOSSLESS = [
    (".png", 1, np.uint8), (".png", 2, np.uint8), (".png", 3, np.uint8), (".png", 4, np.uint8),
    (".png", 1, np.uint16), (".png", 2, np.uint16), (".png", 3, np.uint16), (".png", 4, np.uint16),
    (".tif", 1, np.uint8), (".tiff", 2, np.uint8), (".tif", 3, np.uint8), (".tif", 4, np.uint8),
    (".tif", 1, np.uint16), (".tif", 3, np.uint16), (".tif", 4, np.uint16),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "channels", "dtype"), LOSSLESS)
def test_lossless_round_trip_keeps_pixels_and_metadata(tmp_path, suffix, channels, dtype):
    image, meta = picture(channels, dtype), metadata()
    path = tmp_path / f"späße{suffix}"
    assert write_photo(path, image, meta) == ()
    photo = read_photo(path)
    joined = photo.joined(photo.pixels, photo.alpha)
    assert joined.dtype == dtype
    assert np.array_equal(joined, image)
    assert exif_values(photo.metadata.exif) == exif_values(meta.exif)
    assert photo.metadata.xmp == meta.xmp
    assert photo.metadata.icc == meta.icc
    assert photo.metadata.dpi == pytest.approx(meta.dpi, rel=1e-3)
    assert photo.notes == ()


@pytest.mark.parametrize(
    ("suffix", "channels"), [(".tif", 4), (".tif", 3), (".png", 4), (".png", 3)]
)
def test_16_bit_files_agree_with_opencv(tmp_path, suffix, channels):
    import cv2

    image = np.random.default_rng(0).integers(0, 65536, (300, 7, channels), dtype=np.uint16)
    write_photo(tmp_path / f"a{suffix}", image)
    bgr = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(bgr[..., [2, 1, 0, 3][:channels]], image)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".avif"])
def test_lossy_round_trip_keeps_metadata(tmp_path, suffix):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image, meta = picture(3), metadata()
    assert write_photo(tmp_path / f"a{suffix}", image, meta) == ()
    photo = read_photo(tmp_path / f"a{suffix}")
    assert np.abs(photo.pixels.astype(int) - image).mean() < 3
    # AVIF keeps the orientation outside of EXIF: where it is 1 there is no tag.
    assert {0x0112: 1} | exif_values(photo.metadata.exif) == exif_values(meta.exif)
    assert photo.metadata.xmp == meta.xmp
    assert photo.metadata.icc == meta.icc


def test_jpeg_keeps_gray_dpi_iptc_and_full_chroma(tmp_path):
    meta = metadata(iptc=IPTC)
    assert write_photo(tmp_path / "g.jpg", picture(1), meta) == ()
    photo = read_photo(tmp_path / "g.jpg")
    assert photo.pixels.ndim == 2
    assert photo.metadata.iptc == IPTC
    assert photo.metadata.dpi == pytest.approx((300, 300))
    write_photo(tmp_path / "c.jpg", picture(3))
    with Image.open(tmp_path / "c.jpg") as jpeg:
        assert {layer[1:3] for layer in jpeg.layer} == {(1, 1)}  # no chroma subsampling
    write_photo(tmp_path / "d.jpg", picture(3), options=WriteOptions(40, "4:2:0"))
    assert (tmp_path / "d.jpg").stat().st_size < (tmp_path / "c.jpg").stat().st_size


def test_bmp_and_what_formats_cannot_hold_is_said(tmp_path):
    image = picture(4, np.uint16)
    notes = write_photo(tmp_path / "a.bmp", image, metadata())
    assert [word for word in ("alpha", "16 bits", "EXIF") if any(word in n for n in notes)] == [
        "alpha", "16 bits", "EXIF",
    ]  # fmt: skip
    assert read_photo(tmp_path / "a.bmp").metadata.dpi == pytest.approx((300, 300), rel=1e-3)
    white = write_photo(tmp_path / "b.jpg", np.dstack([picture(3), np.zeros((24, 33), np.uint8)]))
    assert white == ("JPEG holds no alpha: laid over white",)
    assert (read_photo(tmp_path / "b.jpg").pixels == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("form", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("TIFF", "L"), ("WEBP", "RGB")]
)
def test_orientation_is_applied_once_and_the_tag_reset(orientation, form, mode):
    image = Image.fromarray(picture(3, height=16, width=40)).convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Leica"
    if form != "TIFF":  # where Pillow cannot write one made here
        exif[0x8769] = {0xA002: 40}
    out = io.BytesIO()
    image.save(out, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    with Image.open(io.BytesIO(out.getvalue())) as opened:
        from PIL import ImageOps

        upright = np.asarray(ImageOps.exif_transpose(opened))
    photo = decode_photo(out.getvalue())
    assert photo.size == ((40, 16) if orientation < 5 else (16, 40))
    assert np.array_equal(photo.pixels, upright)
    values = exif_values(photo.metadata.exif)
    assert values[0x0112] == 1
    assert values[0x010F] == "Leica"
    if form != "TIFF":
        assert values["exif"][0xA002] == photo.size[0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_of_16_bit_colour(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(3, np.uint16)
    write_photo(tmp_path / f"a{suffix}", image, Metadata(exif=exif.tobytes()))
    photo = read_photo(tmp_path / f"a{suffix}")
    assert np.array_equal(photo.pixels, np.rot90(image, -1))
    assert exif_values(photo.metadata.exif)[0x0112] == 1


def test_orientation_in_xmp_is_reset():
    out = io.BytesIO()
    Image.fromarray(picture(3)).save(out, "PNG", pnginfo=_png_info(XMP))
    photo = decode_photo(out.getvalue())
    assert b'tiff:Orientation="1"' in photo.metadata.xmp
    assert photo.size == (24, 33)


def _png_info(xmp: bytes) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return info


def test_png_text_and_palettes(tmp_path):
    meta = Metadata(text=(("Title", "Oma"), ("Comment", "süß")))
    write_photo(tmp_path / "t.png", picture(3), meta)
    assert read_photo(tmp_path / "t.png").metadata.text == meta.text
    write_photo(tmp_path / "t16.png", picture(3, np.uint16), meta)
    assert read_photo(tmp_path / "t16.png").metadata.text == meta.text

    Image.fromarray(picture(3)).quantize(16).save(tmp_path / "p.png")
    assert read_photo(tmp_path / "p.png").pixels.shape == (24, 33, 3)
    gray = Image.fromarray(picture(1)[..., 0])
    gray.convert("RGB").quantize(8).save(tmp_path / "pg.png")
    assert read_photo(tmp_path / "pg.png").pixels.shape == (24, 33)
    gray.point(lambda v: 255 * (v > 99)).convert("1").save(tmp_path / "one.png")
    assert set(np.unique(read_photo(tmp_path / "one.png").pixels)) == {0, 255}
    Image.fromarray(picture(3)).quantize(16).save(tmp_path / "pt.png", transparency=0)
    assert read_photo(tmp_path / "pt.png").alpha is not None


def test_cmyk_and_lab_become_srgb(tmp_path):
    rgb = Image.fromarray(picture(3))
    rgb.convert("CMYK").save(tmp_path / "c.jpg", quality=98)
    photo = read_photo(tmp_path / "c.jpg")
    assert photo.notes == ("CMYK turned to sRGB without a profile",)
    assert np.abs(photo.pixels.astype(int) - np.asarray(rgb)).mean() < 6
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    ImageCms.applyTransform(rgb, to_lab).save(tmp_path / "l.tif")
    photo = read_photo(tmp_path / "l.tif")
    assert np.abs(photo.pixels.astype(int) - np.asarray(rgb)).max() <= 8


def test_profiles_that_do_not_fit_are_left_out_and_broken_ones_named(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    write_photo(tmp_path / "a.png", picture(3), Metadata(icc=lab))
    photo = read_photo(tmp_path / "a.png")
    assert photo.metadata.icc is None
    assert "Lab" in photo.notes[0]
    write_photo(tmp_path / "b.png", picture(3), Metadata(icc=b"no profile at all"))
    photo = read_photo(tmp_path / "b.png")
    assert photo.metadata.icc == b"no profile at all"
    assert "cannot be read" in photo.notes[0]
