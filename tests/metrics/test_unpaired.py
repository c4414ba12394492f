"""Frechet distance and NIQE on numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from restore.errors import CheckpointError, InputError
from restore.metrics.unpaired import (
    FrechetMetric,
    _fit_asymmetric,
    fit_niqe,
    frechet_distance,
    load_niqe,
    niqe,
    save_niqe,
)


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


def scene(seed, size=96):
    """Smooth blobs with some grain: something with natural-looking local statistics."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, size // 8, size // 8, generator=generator)
    image = F.interpolate(coarse, size, mode="bicubic") * 0.4
    fine = F.interpolate(
        torch.randn(1, 3, size // 2, size // 2, generator=generator), size, mode="bicubic"
    )
    return (image + 0.1 * fine).clamp(-1, 1)


@pytest.fixture(scope="module")
def statistics():
    return fit_niqe([(scene(i), None) for i in range(20)], 24, "scenes")


def test_the_fit_recovers_gaussian_and_laplacian():
    generator = torch.Generator().manual_seed(0)
    gaussian = torch.randn(1, 200_000, generator=generator, dtype=torch.float64)
    uniform = torch.rand(2, 1, 200_000, generator=generator, dtype=torch.float64)
    laplacian = uniform[0].log() - uniform[1].log()
    alpha, left, right = _fit_asymmetric(torch.cat((gaussian, laplacian)))
    assert alpha.tolist() == pytest.approx([2, 1], abs=0.03)
    # widths: sigma sqrt(gamma(1/a) / gamma(3/a)): 1 * sqrt(2) and sqrt(2) * sqrt(1/2)
    assert left.tolist() == pytest.approx([2**0.5, 1], abs=0.02)
    assert right.tolist() == pytest.approx([2**0.5, 1], abs=0.02)


def test_an_asymmetric_fit_tells_the_sides():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 100_000, generator=generator, dtype=torch.float64)
    # an asymmetric Gaussian draws a side with the share of its width
    side = torch.rand(1, 100_000, generator=generator, dtype=torch.float64) < 3 / 4
    x = torch.where(side, 3 * x.abs(), -x.abs())
    alpha, left, right = _fit_asymmetric(x)
    assert alpha.item() == pytest.approx(2, abs=0.05)
    assert (right / left).item() == pytest.approx(3, abs=0.05)


def test_damage_scores_worse_than_good_scenes(statistics):
    good = scene(100)
    noisy = (good + 0.4 * torch.randn(good.shape)).clamp(-1, 1)
    blurred = F.avg_pool2d(F.pad(good, (3, 3, 3, 3), mode="reflect"), 7, 1)
    values = niqe(torch.cat((good, noisy, blurred)), statistics)
    assert values[0] < values[1]
    assert values[0] < values[2]


def test_mask_leaves_out_blocks(statistics):
    good = scene(101)
    spoilt = good.clone()
    spoilt[:, :, :, 48:] = torch.rand(1, 3, 96, 48) * 2 - 1
    mask = torch.zeros(1, 1, 96, 96)
    mask[:, :, :, :24] = 1  # one block away from the seam, whose filters reach over it
    kept = niqe(spoilt, statistics, mask)
    torch.testing.assert_close(kept, niqe(good, statistics, mask))
    assert niqe(spoilt, statistics) > niqe(good, statistics)
    assert niqe(good, statistics, torch.zeros(1, 1, 96, 96)).isnan().all()


def test_flat_images_are_not_measured(statistics):
    assert niqe(torch.zeros(1, 3, 96, 96), statistics).isnan().all()


def test_files_round_trip_and_errors(tmp_path, statistics):
    save_niqe(statistics, tmp_path / "good.safetensors")
    again = load_niqe(tmp_path / "good.safetensors")
    assert (again.block, again.source) == (24, "scenes")
    torch.testing.assert_close(again.covariance, statistics.covariance, rtol=0, atol=0)
    save_file({"mean": torch.zeros(36)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="--fit-niqe"):
        load_niqe(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="Cannot read"):
        load_niqe(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="at least 72"):
        fit_niqe([(scene(0), None)], 24, "one")
    with pytest.raises(InputError, match="16 x 16"):
        niqe(torch.zeros(1, 3, 16, 16), statistics)
