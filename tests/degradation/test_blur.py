"""Kernels against their float64 formulas and basicsr's, blur against cv2.filter2D."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.compat.basicsr import import_basicsr
from restore.degradation.blur import (
    _convolve_direct,
    _convolve_fft,
    blur,
    blur_band,
    defocus_kernels,
    fft_length,
    gaussian_kernels,
    gaussian_lines,
    motion_kernels,
    sinc_kernels,
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


def plain_gaussian(size, sx, sy, theta, beta=None, plateau=False):
    rotation = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    inverse = np.linalg.inv(rotation @ np.diag([sx**2, sy**2]) @ rotation.T)
    kernel = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            v = np.array([j - size // 2, i - size // 2], dtype=np.float64)
            quad = v @ inverse @ v
            if beta is None:
                kernel[i, j] = math.exp(-0.5 * quad)
            elif plateau:
                kernel[i, j] = 1 / (quad**beta + 1)
            else:
                kernel[i, j] = math.exp(-0.5 * quad**beta)
    return kernel / kernel.sum()


def bessel_j1(x):
    # Bessel's integral by the midpoint rule, exact to rounding for a periodic integrand
    t = (np.arange(2000) + 0.5) * math.pi / 2000
    return float(np.cos(t - x * np.sin(t)).mean())


CASES = [(0.5, 0.5, 0.0), (3.0, 1.2, 0.7), (10.0, 4.0, -2.5), (0.2, 9.0, 3.0)]


@pytest.mark.parametrize(("sx", "sy", "theta"), CASES)
@pytest.mark.parametrize(
    ("beta", "plateau"), [(None, False), (0.6, False), (3.5, False), (1.7, True)]
)
def test_gaussians_are_the_formula(sx, sy, theta, beta, plateau):
    made = gaussian_kernels(
        21,
        torch.tensor([sx]),
        torch.tensor([sy]),
        torch.tensor([theta], dtype=torch.float64),
        None if beta is None else torch.tensor([beta]),
        torch.tensor([plateau]) if beta is not None else None,
    )[0].numpy()
    sx, sy = (float(torch.tensor(s)) for s in (sx, sy))  # the float32 values that went in
    beta = None if beta is None else float(torch.tensor(beta))
    np.testing.assert_allclose(made, plain_gaussian(21, sx, sy, theta, beta, plateau), atol=1e-12)


def test_the_line_is_the_factor_of_the_isotropic_kernel():
    sigma, sizes = torch.tensor([0.4, 2.0, 9.0]), torch.tensor([41, 7, 41])
    full = gaussian_kernels(41, sigma, sigma, torch.zeros(3), sizes=sizes)
    line = gaussian_lines(41, sigma, sizes)
    torch.testing.assert_close(line[:, :, None] * line[:, None, :], full, rtol=0, atol=1e-14)
    assert (full[1] > 0).sum() == 49


@pytest.mark.parametrize("cutoff", [math.pi / 5, 1.3, math.pi])
def test_sinc_is_the_formula(cutoff):
    made = sinc_kernels(15, torch.tensor([cutoff], dtype=torch.float64))[0].numpy()
    plain = np.zeros((15, 15))
    for i in range(15):
        for j in range(15):
            r = math.hypot(i - 7, j - 7)
            plain[i, j] = (
                cutoff * bessel_j1(cutoff * r) / (2 * math.pi * r)
                if r
                else cutoff**2 / (4 * math.pi)
            )
    np.testing.assert_allclose(made, plain / plain.sum(), atol=1e-7)


def second_moments(kernel):
    size = kernel.shape[-1]
    at = torch.arange(size, dtype=torch.float64) - size // 2
    xx = (kernel * at.square()[None, :]).sum()
    yy = (kernel * at.square()[:, None]).sum()
    xy = (kernel * at[None, :] * at[:, None]).sum()
    return float(xx), float(yy), float(xy)


@pytest.mark.parametrize("radius", [3.0, 8.5, 15.0])
def test_defocus_has_the_variance_of_a_disc(radius):
    xx, yy, xy = second_moments(defocus_kernels(41, torch.tensor([radius]))[0])
    # the disc's r^2 / 4, and the 1/12 of a pixel's own width less its sub-samples
    assert xx == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.02)
    assert yy == pytest.approx(xx, rel=1e-9)
    assert abs(xy) < 1e-9


@pytest.mark.parametrize(("length", "theta"), [(20.0, 0.0), (25.0, math.pi / 2), (22.0, 0.6)])
def test_motion_lies_along_its_angle(length, theta):
    xx, yy, xy = second_moments(
        motion_kernels(41, torch.tensor([length]), torch.tensor([theta]))[0]
    )
    along = length**2 / 12
    assert xx + yy == pytest.approx(along + 1 / 12 + 2 / 12, rel=0.03)
    assert 0.5 * math.atan2(2 * xy, xx - yy) == pytest.approx(theta, abs=0.03)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 20).map(lambda k: 2 * k + 1),
    sigma=st.tuples(st.floats(0, 30), st.floats(0, 30)),
    theta=st.floats(-4, 4),
    beta=st.floats(0.3, 8),
)
def test_every_kernel_sums_to_one(size, sigma, theta, beta):
    sx, sy = (torch.tensor([s], dtype=torch.float64) for s in sigma)
    angle = torch.tensor([theta])
    made = [
        gaussian_kernels(size, sx, sy, angle),
        gaussian_kernels(size, sx, sy, angle, torch.tensor([beta]), torch.tensor([True])),
        gaussian_kernels(size, sx, sy, angle, torch.tensor([beta]), torch.tensor([False])),
        motion_kernels(size, sx, angle),
        defocus_kernels(size, sx),
    ]
    for kernel in made:
        assert torch.isfinite(kernel).all()
        assert (kernel >= 0).all()
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)


def test_parity_with_basicsr():
    pytest.importorskip("basicsr", reason="basicsr is not installed: no parity with its kernels")
    module = import_basicsr("basicsr.data.degradations")
    mine = gaussian_kernels(21, torch.tensor([3.0]), torch.tensor([1.5]), torch.tensor([0.5]))
    theirs = module.bivariate_Gaussian(21, 3.0, 1.5, 0.5, isotropic=False)
    np.testing.assert_allclose(mine[0].numpy(), theirs, atol=1e-7)
    cutoff = torch.tensor([1.2], dtype=torch.float64)
    np.testing.assert_allclose(
        sinc_kernels(21, cutoff)[0].numpy(), module.circular_lowpass_kernel(1.2, 21), atol=1e-6
    )


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
