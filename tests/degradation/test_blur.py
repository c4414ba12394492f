"""Blur against cv2.filter2D, and its three ways against one another."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from restore.degradation.blur import (
    _convolve_direct,
    _convolve_fft,
    blur,
    blur_band,
    fft_length,
    gaussian_kernels,
    gaussian_lines,
)
from restore.degradation.resize import (
    Canvas,
    full_canvas,
    map_columns,
    map_rows,
    reflect_pad,
    resize_band,
)
from restore.options.degradation import RESIZE_MODES


def kernels(n, size):
    g = torch.Generator().manual_seed(1)
    k = torch.rand((n, size, size), generator=g, dtype=torch.float64)
    return k / k.sum((1, 2), keepdim=True)


@pytest.mark.parametrize("size", [3, 9, 11, 41])
@pytest.mark.parametrize("shape", [(64, 64), (33, 57), (24, 23), (5, 3)])
def test_blur_is_cv2_filter2d(size, shape):
    x = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    k = kernels(2, size)  # not symmetric: a flipped kernel would show
    made = blur(full_canvas(x), k).pixels
    for i in range(2):
        plane = x[i].permute(1, 2, 0).numpy()
        padded = np.pad(plane, [(size // 2,) * 2] * 2 + [(0, 0)], mode="reflect")
        whole = cv2.filter2D(padded, -1, k[i].numpy(), borderType=cv2.BORDER_CONSTANT)
        r = size // 2
        expected = whole[r : r + shape[0], r : r + shape[1]]
        np.testing.assert_allclose(made[i].permute(1, 2, 0).numpy(), expected, atol=3e-6)
    if size // 2 < min(shape):
        direct = cv2.filter2D(x[0].permute(1, 2, 0).numpy(), -1, k[0].numpy())
        np.testing.assert_allclose(made[0].permute(1, 2, 0).numpy(), direct, atol=3e-6)


def test_direct_and_fft_agree():
    x = torch.rand(2, 3, 50, 61, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    k = kernels(2, 13)
    torch.testing.assert_close(_convolve_direct(x, k), _convolve_fft(x, k), rtol=0, atol=1e-12)


def test_the_band_of_a_line_is_its_blur():
    x = torch.rand(1, 3, 20, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = torch.tensor([4.0], dtype=torch.float64)
    line = gaussian_lines(25, sigma)[0]
    rows, columns = (blur_band(line, resize_band("area", n, n)) for n in (20, 31))
    made = rows.dense() @ x @ columns.dense().T
    full = blur(full_canvas(x), gaussian_kernels(25, sigma, sigma, torch.zeros(1))).pixels
    torch.testing.assert_close(made, full, rtol=0, atol=1e-12)
    pieces = map_columns(map_rows(x, rows), columns)
    torch.testing.assert_close(pieces, full, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("target", [(20, 31), (7, 9), (33, 64), (1, 1)])
def test_a_band_that_blurs_and_resizes_is_one_after_the_other(mode, target):
    x = torch.rand(1, 3, 20, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    line = gaussian_lines(11, torch.tensor([2.0]))[0]
    sides = list(zip((20, 31), target, strict=True))
    once = [blur_band(line, resize_band(mode, s, t)) for s, t in sides]
    blurs = [blur_band(line, resize_band(mode, s, s)) for s, _ in sides]
    blurred = map_columns(map_rows(x, blurs[0]), blurs[1])
    rows, columns = (resize_band(mode, s, t) for s, t in sides)
    expected = rows.dense() @ blurred @ columns.dense().T
    made = map_columns(map_rows(x, once[0]), once[1])
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)


def test_unlike_sizes_in_one_canvas_are_blurred_by_themselves():
    g = torch.Generator().manual_seed(0)
    sizes = ((30, 20), (17, 40))
    plane = torch.rand(2, 3, 30, 40, generator=g)
    k = kernels(2, 15)
    made = blur(Canvas(plane, sizes), k).pixels
    for i, (h, w) in enumerate(sizes):
        alone = blur(full_canvas(plane[i : i + 1, :, :h, :w]), k[i : i + 1]).pixels[0]
        torch.testing.assert_close(made[i, :, :h, :w], alone, rtol=0, atol=1e-5)


def test_gradient():
    x = torch.rand(1, 3, 7, 9, dtype=torch.float64, requires_grad=True)
    for size in (3, 11):
        assert torch.autograd.gradcheck(
            lambda v, s=size: blur(full_canvas(v), kernels(1, s)).pixels, x
        )


def test_reflection_goes_on_beyond_the_picture():
    x = torch.arange(3.0).view(1, 1, 1, 3).expand(1, 1, 3, 3)
    line = reflect_pad(full_canvas(x), 5)[0, 0, 0]
    assert line.tolist() == np.pad(np.arange(3.0), 5, mode="reflect").tolist()


def test_fft_lengths_are_smooth():
    for n in (1, 7, 276, 552, 1000):
        length = fft_length(n)
        rest = length
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        assert length >= n
        assert rest == 1
        assert length % 2 == 0


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="odd"):
        blur(full_canvas(torch.zeros(1, 3, 8, 8)), torch.ones(1, 4, 4))
