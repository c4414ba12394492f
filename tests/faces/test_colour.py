"""The low-frequency colour match."""

import cv2
import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.colour import from_unit, low_frequencies, match_low_frequency, to_unit
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
