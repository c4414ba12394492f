"""The truth's target and its inverse, for tensors and for arrays without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from restore.degradation.truth import DEGRADATION_NAMES, DegradationTruth, target_to_units

TRUTH = DegradationTruth(
    blur_sigma=torch.tensor([0.5, 10.0]),
    scale=torch.tensor([1.0, 8.0]),
    noise_sigma=torch.tensor([0.0, 20.0]),
    jpeg_quality=torch.tensor([100.0, 30.0]),
    gray=torch.tensor([0.0, 1.0]),
    damage=torch.tensor([0.0, 0.7]),
)


@pytest.mark.parametrize("of", [lambda t: t, lambda t: t.numpy()])
def test_round_trip(of):
    units = target_to_units(of(TRUTH.as_target()))
    for name, values in units.items():
        np.testing.assert_allclose(np.asarray(values), getattr(TRUTH, name).numpy(), rtol=1e-5)


def test_the_target_is_the_contract():
    assert DEGRADATION_NAMES[0] == "log_blur_sigma"
    expected = [[np.log(0.5), 0, 0, 0, 0, 0], [np.log(10), 3, 0.8, 1.4, 1, 0.7]]
    np.testing.assert_allclose(TRUTH.as_target().numpy(), expected, rtol=1e-6, atol=1e-6)


def test_wild_heads_are_clipped():
    units = target_to_units(np.array([[99.0, 99.0, -5.0, 9.0, 2.0, -1.0]]))
    assert all(np.isfinite(v).all() for v in units.values())
    assert units["jpeg_quality"][0] == 0
    assert units["noise_sigma"][0] == 0
    with pytest.raises(ValueError, match="6"):
        target_to_units(np.zeros((2, 5)))


def test_some_samples_and_another_device():
    assert TRUTH[1:].jpeg_quality.tolist() == [30]
    assert len(TRUTH.to("cpu")) == 2


def test_units_load_no_torch():
    code = "import sys, restore.degradation.truth; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
