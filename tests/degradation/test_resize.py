"""Resizing against OpenCV and Pillow for the same filter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from restore.degradation.resize import Canvas, full_canvas, resize_each, resize_matrix

CV2 = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "area": cv2.INTER_AREA,
}
SIZES = [
    ((64, 64), (16, 16)),
    ((64, 48), (37, 21)),
    ((33, 57), (80, 99)),
    ((50, 50), (50, 50)),
    ((31, 64), (64, 31)),
    ((9, 7), (1, 1)),
    ((1, 1), (6, 5)),
]


def is_like_cv2(mode, source, target):
    """OpenCV's INTER_AREA enlarges one side and shrinks the other by another rule."""
    return mode != "area" or (source[0] < target[0]) == (source[1] < target[1])


@pytest.mark.parametrize(
    ("mode", "source", "target"),
    [(mode, *sizes) for mode in CV2 for sizes in SIZES if is_like_cv2(mode, *sizes)],
)
def test_it_is_cv2_resize(mode, source, target):
    x = torch.rand(1, 3, *source, generator=torch.Generator().manual_seed(0))
    made = resize_each(full_canvas(x), [target], [mode]).pixels[0].permute(1, 2, 0).numpy()
    plane = x[0].permute(1, 2, 0).numpy()
    expected = cv2.resize(plane, target[::-1], interpolation=CV2[mode])
    np.testing.assert_allclose(made, expected, atol=2e-5)


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_area_is_pillows_box(factor):
    x = torch.rand(1, 1, 6 * factor, 5 * factor, generator=torch.Generator().manual_seed(0))
    box = Image.fromarray(x[0, 0].numpy()).resize((5, 6), Image.Resampling.BOX)
    made = resize_each(full_canvas(x), [(6, 5)], ["area"]).pixels[0, 0]
    np.testing.assert_allclose(made.numpy(), np.asarray(box), atol=1e-5)


def test_unlike_sizes_and_modes_in_one_canvas():
    g = torch.Generator().manual_seed(0)
    plane = torch.rand(3, 3, 40, 50, generator=g)
    sources, targets = ((40, 30), (22, 50), (40, 50)), ((13, 60), (22, 50), (35, 10))
    modes = ("bilinear", "area", "lanczos")
    made = resize_each(Canvas(plane, sources), targets, modes)
    assert made.pixels.shape[-2:] == (35, 60)
    for i, (h, w) in enumerate(sources):
        alone = resize_each(full_canvas(plane[i : i + 1, :, :h, :w]), [targets[i]], [modes[i]])
        a, b = targets[i]
        torch.testing.assert_close(made.pixels[i, :, :a, :b], alone.pixels[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", list(CV2))
def test_a_constant_stays(mode):
    for source, target in ((10, 3), (3, 10), (7, 6)):
        rows = resize_matrix(mode, source, target).sum(1)
        torch.testing.assert_close(rows, torch.ones(target), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", list(CV2))
def test_gradient(mode):
    x = torch.rand(1, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    made = lambda v: resize_each(full_canvas(v), [(4, 9)], [mode]).pixels  # noqa: E731
    assert torch.autograd.gradcheck(made, x)


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="lanczos"):
        resize_matrix("box", 4, 2)
