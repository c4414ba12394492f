"""Grain of the surroundings on a pasted face."""

import cv2
import numpy as np
import pytest

from restore.faces.align import face_mask
from restore.faces.colour import add_grain, measure_grain, synthesise_grain
from tests.faces.scene import smooth_photo

MASK = face_mask(160)
MATRIX = np.array([[1.0, 0, -60], [0, 1, -60]])


def grainy(sigma, soft=0.0, channels=3, dtype=np.uint8):
    noise = np.random.default_rng(1).normal(0, 1, (280, 280, 1))
    if soft:
        noise = cv2.GaussianBlur(noise, (0, 0), soft)[..., None]
    noise *= sigma / noise.std()
    shade = cv2.resize(smooth_photo(16, 16, channels), (280, 280), interpolation=cv2.INTER_CUBIC)
    photo = shade.reshape(280, 280, channels) * 0.3 + 90 + noise
    full = {np.uint8: 1, np.uint16: 257}[dtype]
    return np.clip(photo * full, 0, 255 * full).astype(dtype)


def high(image):
    image = image.astype(np.float64)
    return (image - cv2.GaussianBlur(image, (0, 0), 6))[110:170, 110:170]


@pytest.mark.parametrize("sigma", [3.0, 8.0])
@pytest.mark.parametrize("soft", [0.0, 1.5])
def test_a_smooth_face_gets_the_grain_around_it(sigma, soft):
    before = grainy(sigma, soft)
    after = before.copy()
    after[64:216, 64:216] = cv2.GaussianBlur(before, (0, 0), 5)[64:216, 64:216]
    smooth = after.copy()
    add_grain(after, before, [(MATRIX, MASK)], np.random.default_rng(7))
    assert high(smooth).std() < 0.5 * high(before).std()
    assert high(after).std() == pytest.approx(high(before).std(), rel=0.25)

    def step(image):  # how alike neighbours are: the grain's size
        return np.diff(high(image), axis=1).std() / high(image).std()

    assert step(after) == pytest.approx(step(before), rel=0.25)
    again = smooth.copy()
    add_grain(again, before, [(MATRIX, MASK)], np.random.default_rng(7))
    np.testing.assert_array_equal(again, after)
    other = add_grain(smooth.copy(), before, [(MATRIX, MASK)], np.random.default_rng(8))
    assert not np.array_equal(other, after)
    assert np.array_equal(after[:60], before[:60])


def test_a_face_with_enough_grain_is_left_alone():
    photo = grainy(6.0)
    after = add_grain(photo.copy(), photo, [(MATRIX, MASK)], np.random.default_rng(0))
    assert np.abs(after.astype(int) - photo).mean() < 1.5


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depths_and_gray(channels, dtype):
    before = grainy(8.0, 0, channels, dtype)
    after = before.copy()
    after[64:216, 64:216] = np.median(before)
    out = add_grain(after.copy(), before, [(MATRIX, MASK)], np.random.default_rng(0))
    assert out.dtype == dtype
    changed = out[100:180, 100:180] != after[100:180, 100:180]
    assert changed[..., 0].mean() > 0.5
    if channels == 4:
        assert not changed[..., 3].any()
    if channels >= 3:  # a gray face stays gray
        gray = out[100:180, 100:180].astype(int)
        assert np.ptp(gray[..., :3], axis=2).max() <= (1 if dtype == np.uint8 else 257)


def test_spectrum_of_what_was_made_is_what_was_asked():
    luma = (grainy(10.0, 1.0)[..., 0] / 255).astype(np.float32)
    measured = measure_grain(luma, np.ones(luma.shape, bool))
    made = synthesise_grain(measured.power, 300, 300, np.random.default_rng(0))
    again = measure_grain(made + 0.5, np.ones(made.shape, bool))
    assert again.sigma == pytest.approx(measured.sigma, rel=0.2)
    assert measure_grain(luma[:20, :20], np.ones((20, 20), bool)) is None
