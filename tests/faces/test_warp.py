"""Anti-aliasing, borders and the region of interest of the warp."""

import cv2
import numpy as np
import pytest

from restore.faces.align import compose, invert, resized, shifted, warp
from restore.geometry import ffhq_template, similarity
from tests.faces.scene import placed_landmarks, smooth_photo


@pytest.mark.parametrize("factor", [1.3, 2, 3.7, 9])
def test_shrinking_a_checkerboard_gives_its_mean(factor):
    board = (np.indices((360, 360)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / factor
    size = int(200 / factor)
    matrix = np.concatenate([turn, (size / 2 - turn @ [180, 180])[:, None]], axis=1)
    out = warp(board, matrix, size, size).astype(float)
    plain = cv2.warpAffine(board, matrix, (size, size), flags=cv2.INTER_LINEAR).astype(float)
    assert abs(out.mean() - 127.5) < 2
    if factor >= 2:
        assert out.std() < 18
        assert out.std() < plain.std() / 2


@pytest.mark.parametrize("factor", [2, 4, 5])
def test_whole_number_shrink_is_the_area_average(factor):
    photo = smooth_photo(40 * factor, 30 * factor)
    out = warp(photo, resized(1 / factor, 1 / factor), 30, 40)
    area = cv2.resize(photo, (30, 40), interpolation=cv2.INTER_AREA)
    assert np.abs(out.astype(int) - area).mean() < 0.7


def test_identity_is_exact():
    photo = smooth_photo(50, 40)
    np.testing.assert_array_equal(warp(photo, shifted(0, 0), 40, 50), photo)


@pytest.mark.parametrize("border", ["reflect", "replicate", "constant"])
@pytest.mark.parametrize("eyes", [9, 40, 170])
@pytest.mark.parametrize("centre", [(10, 12), (140, 90), (-20, 60)])
def test_only_the_region_of_interest_matters(border, eyes, centre):
    """Everything that the crop cannot see is poisoned: the crop stays the same."""
    photo = smooth_photo(160, 170).astype(np.float32)
    matrix = similarity(placed_landmarks(centre, eyes, 15), ffhq_template(64))
    out = warp(photo, matrix, 64, 64, border)
    seen = np.zeros(photo.shape[:2], bool)
    back = invert(matrix)
    steps = np.arange(-40, 104, 0.25) if eyes < 20 else np.arange(-8, 72, 0.1)
    x, y = np.meshgrid(steps, steps)
    px = np.rint(back[0, 0] * x + back[0, 1] * y + back[0, 2]).astype(int)
    py = np.rint(back[1, 0] * x + back[1, 1] * y + back[1, 2]).astype(int)
    if border == "reflect":
        px, py = (_reflect(p, n) for p, n in ((px, 170), (py, 160)))
    elif border == "replicate":
        px, py = px.clip(0, 169), py.clip(0, 159)
    inside = (px >= 0) & (px < 170) & (py >= 0) & (py < 160)
    seen[py[inside], px[inside]] = True
    seen = cv2.dilate(seen.astype(np.uint8), np.ones((9, 9))) > 0
    poisoned = np.where(seen[..., None], photo, np.float32(1e6))
    np.testing.assert_allclose(warp(poisoned, matrix, 64, 64, border), out, atol=1e-3)


def _reflect(index, length):
    index = np.mod(index, 2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def test_far_pixels_are_not_read():
    """A view of zero strides cannot be copied whole: 10^10 pixels."""
    endless = np.broadcast_to(np.uint8(77), (100_000, 100_000, 3))
    matrix = similarity(placed_landmarks((70_000, 90_000), 40), ffhq_template(64))
    assert (warp(endless, matrix, 64, 64) == 77).all()


def test_reflection_equals_a_padded_photo():
    photo = smooth_photo(40, 50)
    padded = np.pad(photo, ((200, 200), (200, 200), (0, 0)), mode="symmetric")
    matrix = similarity(placed_landmarks((3, 5), 30, 10), ffhq_template(96))
    expected = warp(padded, compose(matrix, shifted(-200, -200)), 96, 96)
    assert np.abs(warp(photo, matrix, 96, 96).astype(int) - expected).max() <= 2
