"""Kernels against float64 formulas written pixel by pixel, and against basicsr where it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.degradation.blur import (
    defocus_kernels,
    gaussian_kernels,
    gaussian_lines,
    motion_kernels,
    sinc_kernels,
)


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
    module = pytest.importorskip(
        "basicsr.data.degradations", reason="basicsr is not installed: no parity with its kernels"
    )
    mine = gaussian_kernels(21, torch.tensor([3.0]), torch.tensor([1.5]), torch.tensor([0.5]))
    theirs = module.bivariate_Gaussian(21, 3.0, 1.5, 0.5, isotropic=False)
    np.testing.assert_allclose(mine[0].numpy(), theirs, atol=1e-7)
    cutoff = torch.tensor([1.2], dtype=torch.float64)
    np.testing.assert_allclose(
        sinc_kernels(21, cutoff)[0].numpy(), module.circular_lowpass_kernel(1.2, 21), atol=1e-6
    )
