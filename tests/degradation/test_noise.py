"""Moments of the noises, and whose seed they hang on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from restore.degradation.draws import normal_fields
from restore.degradation.noise import (
    add_film_grain,
    add_gaussian_noise,
    add_poisson_noise,
    luma,
)
from restore.degradation.resize import Canvas, full_canvas

MID = torch.full((3, 3, 128, 128), 0.5)
SEEDS = np.array([11, 12, 13])


def test_gaussian_moments_and_gray():
    gray = np.array([False, True, False])
    sigma = np.array([5.0, 20.0, 0.0])
    noise = (add_gaussian_noise(full_canvas(MID), sigma, gray, SEEDS).pixels - MID) * 255
    for i in range(2):
        # the standard errors of 49152 (or a third of it) values, four times
        assert abs(float(noise[i].mean())) < 4 * sigma[i] / 128
        assert float(noise[i].std()) == pytest.approx(sigma[i], rel=0.02)
    assert float(noise[2].abs().max()) < 1e-4  # float32 rounding of 0.5 + 0
    assert torch.equal(noise[1, 0], noise[1, 1])
    channels = noise[0].view(3, -1)
    assert float(torch.corrcoef(channels)[0, 1].abs()) < 0.04
    z = channels[0] / channels[0].std()
    assert float((z**3).mean().abs()) < 0.1
    assert float((z**4).mean()) == pytest.approx(3, abs=0.2)


def test_chroma_noise_keeps_the_luma():
    chroma, gray = np.array([True, True, False]), np.array([False, True, False])
    sigma = np.full(3, 20.0)
    noise = add_gaussian_noise(full_canvas(MID), sigma, gray, SEEDS, chroma).pixels - MID
    assert float(luma(noise[:1]).abs().max()) < 1e-6
    assert float(noise[0].std()) * 255 > 12
    assert torch.equal(noise[1, 0], noise[1, 1])
    plain = add_gaussian_noise(full_canvas(MID), sigma, gray, SEEDS).pixels - MID
    assert torch.equal(noise[2], plain[2])


def test_poisson_variance_follows_brightness():
    steps = torch.linspace(0, 1, 256).round(decimals=4)
    ramp = (steps * 255).round().div(255).view(1, 1, 1, 256).expand(1, 3, 400, 256)
    out = add_poisson_noise(full_canvas(ramp), np.array([2.0]), np.array([False]), SEEDS[:1]).pixels
    variance = (out - ramp).var(dim=(0, 1, 2))
    # 256 values: 256 photons at white; variance scale^2 value / 256
    expected = 4 * ramp[0, 0, 0] / 256
    assert torch.allclose(variance[32:], expected[32:], rtol=0.25)
    assert float((variance / expected.clamp_min(1e-9))[64:].mean()) == pytest.approx(1, abs=0.02)
    assert float((out - ramp).mean().abs()) < 1e-3


def test_grain_is_strongest_in_mid_tones_and_colorless():
    levels = torch.tensor([0.02, 0.5, 0.98]).view(3, 1, 1, 1).expand(3, 3, 96, 96)
    strength, size = np.full(3, 12.0), np.full(3, 0.8)
    out = add_film_grain(full_canvas(levels), strength, size, SEEDS).pixels - levels
    deviation = out.std(dim=(1, 2, 3)) * 255
    assert float(deviation[1]) == pytest.approx(12, rel=0.1)
    assert float(deviation[0]) < 5
    assert float(deviation[2]) < 5
    torch.testing.assert_close(out[1, 0], out[1, 2], rtol=0, atol=1e-6)


def test_noise_hangs_on_its_own_seed_only():
    gray, sigma = np.zeros(3, bool), np.full(3, 9.0)
    whole = add_gaussian_noise(full_canvas(MID), sigma, gray, SEEDS).pixels
    alone = add_gaussian_noise(full_canvas(MID[1:2]), sigma[:1], gray[:1], SEEDS[1:2]).pixels
    assert torch.equal(whole[1], alone[0])
    plane = Canvas(MID, ((128, 128), (50, 60), (128, 128)))
    mixed = add_gaussian_noise(plane, sigma, gray, SEEDS).pixels
    small = add_gaussian_noise(full_canvas(MID[:1, :, :50, :60]), sigma[:1], gray[:1], SEEDS[1:2])
    assert torch.equal(mixed[1, :, :50, :60], small.pixels[0])


def test_fields_are_not_alike():
    fields = normal_fields(np.array([1, 2]), [(64, 64)] * 2, 1, torch.device("cpu"))
    assert float(torch.corrcoef(fields.view(2, -1))[0, 1].abs()) < 0.06
