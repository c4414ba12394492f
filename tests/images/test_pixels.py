"""Depth, gray and colour profiles of pixel arrays."""

import numpy as np
import pytest
from PIL import ImageCms

from restore.errors import InputError
from restore.images.photo import photo_from_array
from restore.images.pixels import looks_gray, over_white, to_gray, to_uint8
from restore.images.profile import colour_transform


def test_to_uint8_rounds_every_16_bit_value():
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_uint8(values), np.rint(values / 257).astype(np.uint8))


def test_gray_photos_are_known():
    gray = np.random.default_rng(0).integers(0, 250, (40, 30), dtype=np.uint8)
    rgb = np.dstack([gray] * 3)
    assert looks_gray(gray)
    assert looks_gray(rgb)
    assert looks_gray(rgb + np.array([0, 3, 5], np.uint8))
    sepia = rgb.astype(float) * [1, 0.85, 0.65]
    assert not looks_gray(sepia.astype(np.uint8))
    spot = rgb.copy()
    spot[:10, :10] = (200, 40, 40)
    assert not looks_gray(spot)


def test_to_gray_is_luma():
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert (to_gray(red) == 76).all()


def test_over_white_16_bit():
    pixels = np.full((1, 3, 3), 1000, np.uint16)
    alpha = np.array([[0, 65535, 32768]], np.uint16)
    mixed = over_white(pixels, alpha)
    assert mixed[0, :, 0].tolist() == [65535, 1000, 33267]


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4), np.uint8),
     np.zeros((2, 4, 4, 3), np.uint8), np.zeros((4, 4), bool)],
)  # fmt: skip
def test_arrays_that_are_no_photo(array):
    with pytest.raises(InputError, match="expected uint8 or uint16"):
        photo_from_array(array)


def test_array_layout_comes_back():
    for shape in ((5, 4), (5, 4, 1), (5, 4, 2), (5, 4, 3), (5, 4, 4)):
        array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        photo = photo_from_array(array)
        assert np.array_equal(photo.joined(photo.pixels, photo.alpha), array)


def wide_profile() -> bytes:
    """sRGB under another name and with another red: the description and the matrix patched."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = srgb.replace(b"s\0R\0G\0B", b"w\0i\0d\0e").replace(b"sRGB", b"wide")
    at = wide.index(b"rXYZ")
    offset = int.from_bytes(wide[at + 4 : at + 8], "big")
    red = int.from_bytes(wide[offset + 8 : offset + 12], "big")
    changed = int(red * 1.2).to_bytes(4, "big")
    wide = wide[: offset + 8] + changed + wide[offset + 12 :]
    return wide


def test_srgb_needs_no_transform_and_others_come_back():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert colour_transform(None) is None
    assert colour_transform(srgb) is None
    assert colour_transform(b"broken") is None
    transform = colour_transform(wide_profile())
    assert transform is not None
    rgb = np.random.default_rng(0).integers(60, 180, (16, 16, 3), dtype=np.uint8)
    there = transform.to_srgb(rgb)
    assert np.abs(there.astype(int) - rgb).max() > 3
    assert np.abs(transform.from_srgb(there).astype(int) - rgb).max() <= 2
