"""Colour changes against torchvision, formulas and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from restore.degradation import prints

X = torch.rand(3, 3, 12, 15, generator=torch.Generator().manual_seed(0))
FACTORS = np.array([0.5, 1.0, 1.4])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_adjustments_are_torchvisions(name):
    functional = pytest.importorskip("torchvision.transforms.functional")
    made = getattr(prints, f"adjust_{name}")(X, FACTORS)
    for i, factor in enumerate(FACTORS):
        expected = getattr(functional, f"adjust_{name}")(X[i], float(factor))
        # torchvision rounds its luma weights to 0.2989 0.587 0.114
        torch.testing.assert_close(made[i], expected, rtol=0, atol=2e-4)


def test_hue_is_torchvisions():
    functional = pytest.importorskip("torchvision.transforms.functional")
    turns = np.array([-0.5, 0.07, 0.3])
    made = prints.adjust_hue(X, turns)
    for i, turn in enumerate(turns):
        expected = functional.adjust_hue(X[i], float(turn))
        torch.testing.assert_close(made[i], expected, rtol=0, atol=1e-4)


def test_gray_pixels_have_no_hue_to_turn():
    gray = torch.linspace(0, 1, 9).view(1, 1, 3, 3).expand(1, 3, 3, 3)
    torch.testing.assert_close(prints.adjust_hue(gray, np.array([0.3])), gray)


def test_jitter_keeps_each_samples_order():
    orders = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
    factors = np.array([[0.8, 1.3, 0.4, 0.1], [1.2, 0.6, 1.4, -0.1], [1.0, 1.0, 1.0, 0.0]])
    made = prints.jitter(X, orders, factors)
    by = (
        prints.adjust_brightness,
        prints.adjust_contrast,
        prints.adjust_saturation,
        prints.adjust_hue,
    )
    for i in range(3):
        one = X[i : i + 1]
        for k in orders[i]:
            one = by[k](one, factors[i, k : k + 1])
        torch.testing.assert_close(made[i : i + 1], one)
    torch.testing.assert_close(made[2], X[2], rtol=0, atol=1e-6)


def test_tones_keep_black_and_white_and_have_no_color_of_their_own():
    for value in (0.0, 1.0):
        flat = torch.full((1, 3, 2, 2), value)
        torch.testing.assert_close(prints.tone(flat, np.array([1.0])), flat)
        torch.testing.assert_close(
            prints.cast(flat, np.array([[0.5, 1, 2]])), flat, atol=0.011, rtol=0
        )
    red, gray = torch.tensor([0.9, 0.2, 0.1]), None
    y = float((red * torch.tensor([0.299, 0.587, 0.114])).sum())
    toned = prints.tone(red.view(1, 3, 1, 1), np.array([1.0]))
    gray = prints.tone(torch.full((1, 3, 1, 1), y), np.array([1.0]))
    torch.testing.assert_close(toned, gray)
    assert toned[0, 0] > toned[0, 1] > toned[0, 2]


def test_haze_and_fading_are_their_formulas():
    t, air = np.array([1.0, 0.7, 0.2]), np.full((3, 3), 0.8)
    expected = X * torch.tensor(t).view(3, 1, 1, 1).float()
    expected = expected + 0.8 * (1 - torch.tensor(t).view(3, 1, 1, 1).float())
    torch.testing.assert_close(prints.haze(X, t, air), expected)
    faded = prints.fade(X, np.full(3, 0.5), np.full(3, 0.2), np.ones(3))
    torch.testing.assert_close(faded, X * 0.5 + 0.2)
    gray = prints.fade(X, np.ones(3), np.zeros(3), np.zeros(3))
    torch.testing.assert_close(gray, prints.to_gray(X, np.ones(3)))


def test_exposure_reaches_its_corners():
    flat = torch.full((1, 3, 400, 400), 0.3)
    corners = np.array([[1.0, -1.0, 0.0, 0.5]])
    made = prints.uneven_exposure(flat, np.array([0.6]), corners)[0, 0]
    got = [made[0, 0], made[0, -1], made[-1, 0], made[-1, -1]]
    for value, stop in zip(got, corners[0] * 0.6, strict=True):
        assert float(value) == pytest.approx(0.3 * 2**stop, rel=1e-3)


def test_gradients():
    x = (X[:1, :, :3, :4].double() * 0.8 + 0.1).requires_grad_()
    one = np.array([0.7])
    for run in (
        lambda v: prints.to_gray(v, one),
        lambda v: prints.tone(v, one),
        lambda v: prints.fade(v, one, one * 0.2, one),
        lambda v: prints.cast(v, np.array([[0.8, 1.0, 1.3]])),
        lambda v: prints.haze(v, one, np.array([[0.8, 0.9, 1.0]])),
        lambda v: prints.adjust_contrast(v, one),
        lambda v: prints.adjust_hue(v, np.array([0.05])),
    ):
        assert torch.autograd.gradcheck(run, x, eps=1e-7, atol=1e-5)
