"""Soft masks: 1 on the features, exactly 0 on the border, smooth between, refined by a parser."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.align import border_window, face_mask
from restore.geometry import ffhq_template


@pytest.mark.parametrize("size", [1, 16, 128, 512])
@pytest.mark.parametrize("zoom", [1.0, 1.2, 1.6])
def test_border_is_exactly_zero(size, zoom):
    mask = face_mask(size, ffhq_template(size, zoom, (256, 280)))
    assert mask.dtype == np.float32
    assert mask.min() >= 0
    assert mask.max() <= 1
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert (edge == 0).all()


def test_features_are_inside_and_the_template_is_the_default():
    mask = face_mask(256)
    np.testing.assert_allclose(mask, face_mask(256, ffhq_template(256)), atol=1e-6)
    for x, y in ffhq_template(256).astype(int):
        assert mask[y, x] == 1


def test_mask_follows_the_landmarks():
    moved = face_mask(128, ffhq_template(128) + np.array([6, 0]))
    still = face_mask(128)
    middle = slice(20, 108)
    np.testing.assert_allclose(moved[middle, 46:100], still[middle, 40:94], atol=1e-5)


def test_transition_is_soft():
    mask = face_mask(512)
    steepest = max(np.abs(np.diff(mask, axis=0)).max(), np.abs(np.diff(mask, axis=1)).max())
    assert steepest < 1 / 20


def test_hair_lies_in_the_transition():
    mask = face_mask(512)
    assert 0 < mask[60, 256] < 1


def test_window_reaches_zero_and_one():
    window = border_window(40)
    assert window[0, 20] == 0
    assert window[20, 20] == 1


def test_bad_arguments():
    with pytest.raises(InputError):
        face_mask(0)
