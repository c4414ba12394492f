"""The low-frequency colour match."""

import cv2
import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.colour import (
    LUMA,
    even_colours,
    from_unit,
    low_frequencies,
    match_low_frequency,
    to_unit,
)
from tests.faces.scene import smooth_photo


def test_a_tint_is_taken_away_and_detail_stays():
    face = smooth_photo(96, 96)
    random = np.random.default_rng(0)
    detail = random.normal(0, 0.02, (96, 96, 3)).astype(np.float32)
    tinted = to_unit(face) * 0.8 + np.array([0.1, -0.05, 0.08], np.float32) + detail
    out = match_low_frequency(tinted, face, 8)
    low = [
        np.abs(cv2.GaussianBlur(crop - to_unit(face), (0, 0), 8, borderType=cv2.BORDER_REFLECT))
        for crop in (tinted, out)
    ]
    assert low[1].mean() < low[0].mean() / 5
    assert low[1].max() < 0.04
    ours = out - cv2.GaussianBlur(out, (0, 0), 2)
    theirs = tinted - cv2.GaussianBlur(tinted, (0, 0), 2)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99


def test_equal_crops_stay_equal():
    face = smooth_photo(64, 64)
    np.testing.assert_allclose(match_low_frequency(face, face), to_unit(face), atol=1e-6)


@pytest.mark.parametrize("sigma", [1.5, 6, 20, 60])
def test_reduced_blur_agrees_with_the_plain_one(sigma):
    image = to_unit(smooth_photo(160, 130))
    plain = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    assert np.abs(low_frequencies(image, sigma) - plain).mean() < 0.006


def test_depths_round_trip():
    for dtype in (np.uint8, np.uint16):
        values = np.arange(0, np.iinfo(dtype).max + 1, 17).astype(dtype).reshape(1, -1, 1)
        np.testing.assert_array_equal(from_unit(to_unit(values), values.dtype), values)


def test_bad_arguments():
    face = smooth_photo(8, 8)
    with pytest.raises(InputError):
        match_low_frequency(face, face[:4])
    with pytest.raises(InputError):
        match_low_frequency(face, face, 0)
    with pytest.raises(InputError):
        to_unit(face.astype(np.float64))


def test_blotches_of_the_colours_go_and_edges_of_colour_stay():
    """Chroma of blocks of 16 px is evened out; lips darker than the skin keep their red."""
    random = np.random.default_rng(0)
    face = np.full((160, 160, 3), (0.8, 0.6, 0.5), np.float32)
    face[70:90, 50:110] = (0.6, 0.25, 0.25)
    chroma = random.normal(0, 0.03, (10, 10, 3)).astype(np.float32)
    chroma -= (chroma @ LUMA)[..., None]
    spoilt = face + np.kron(chroma, np.ones((16, 16, 1), np.float32))
    even = even_colours(spoilt, 14.0)
    error, before = np.abs(even - face), np.abs(spoilt - face)
    assert error.mean() < 0.55 * before.mean()
    assert error[72:88, 52:108].mean() < before.mean()
    np.testing.assert_allclose(even @ LUMA, spoilt @ LUMA, atol=1e-5)
    half = even_colours(spoilt, 14.0, 0.5)
    np.testing.assert_allclose(half, (even + spoilt) / 2, atol=1e-6)
    assert even_colours(spoilt, 14.0, 0.0) is spoilt
