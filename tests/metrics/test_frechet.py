import numpy as np
import pytest
import torch
from torch import nn

from restore.metrics.frechet import FrechetMetric, frechet_distance


class Means(nn.Module):
    """Features that are the image itself: its spatial mean is the mean colour."""

    channels = (3,)
    kind = "means"

    def forward(self, image):
        return [image]


def test_known_distance_of_one_dimensional_gaussians():
    def gaussian(mean, deviation):
        return torch.tensor([mean]).double(), torch.tensor([[deviation**2]]).double()

    # (m1 - m2)² + (s1 - s2)²
    assert frechet_distance(*gaussian(1.0, 2.0), *gaussian(4.0, 6.0)) == pytest.approx(25)


def test_equals_the_matrix_square_root_of_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    x, y = torch.randn(40, 6).double(), (torch.randn(40, 6) @ torch.randn(6, 6)).double() + 1
    a, b = torch.cov(x.T), torch.cov(y.T)
    root = linalg.sqrtm(a.numpy() @ b.numpy()).real
    expected = (x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2 * np.trace(root)
    assert frechet_distance(x.mean(0), a, y.mean(0), b) == pytest.approx(float(expected))


def test_singular_covariances_are_sound():
    x = torch.randn(3, 8).double()  # rank 2
    cov = torch.cov(x.T)
    assert frechet_distance(x.mean(0), cov, x.mean(0), cov) == pytest.approx(0, abs=1e-6)


def test_streaming_equals_all_at_once_and_sides_need_no_pairs():
    metric = FrechetMetric(Means())
    a, b = torch.rand(6, 3, 4, 4), torch.rand(6, 3, 4, 4) * 0.5
    whole = metric.finish(metric.measure(a, b, None))
    halves = metric.measure(a[:2], b[:2], None) + metric.measure(a[2:], b[2:], None)
    assert metric.finish(halves) == pytest.approx(whole)
    sides = metric.measure(a, a[:0], None) + metric.measure(b[:0], b, None)
    assert metric.finish(sides) == pytest.approx(whole)
    x, y = (t.mean((2, 3)).double() for t in (a, b))
    direct = frechet_distance(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    assert whole == pytest.approx(direct)


def test_mask_and_too_few_images():
    metric = FrechetMetric(Means())
    a = torch.rand(5, 3, 4, 4)
    b = a.clone()
    b[:, :, 2:] = 0
    mask = torch.zeros(5, 1, 4, 4)
    mask[:, :, :2] = 1
    assert metric.finish(metric.measure(a, b, mask)) == pytest.approx(0, abs=1e-9)
    assert metric.finish(metric.measure(a, b, None)) > 0.01
    assert np.isnan(metric.finish(metric.measure(a[:1], b[:1], None)))
