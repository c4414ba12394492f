"""degrade on an accelerator: every tensor on its device; there the same values as on the CPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from restore.degradation import degrade as module
from restore.degradation.degrade import degrade
from restore.degradation.draws import draws_from

# Damage, Poisson noise and second passes look at their values, which fake tensors have not.
WITHOUT_LOOKING = (
    "gfpgan", "gfpgan_no_color", "codeformer_stage2", "codeformer_stage3", "difface", "light",
    "mild", "heavy", "none",
)  # fmt: skip


class NoGenerator:
    """Stands in for a generator on a device that is not there."""

    def __init__(self, device=None):
        self.device = device

    def manual_seed(self, seed):
        return self


@pytest.mark.parametrize("name", WITHOUT_LOOKING)
def test_no_tensor_is_left_on_another_device(name, monkeypatch):
    """Fake CUDA tensors carry no values but refuse to meet a tensor of another device."""
    draws = draws_from(20, None, list(range(20)))
    randn = torch.randn
    monkeypatch.setattr(module, "draws_from", lambda *_: draws)
    monkeypatch.setattr(module, "_check_range", lambda gt: None)
    monkeypatch.setattr(torch, "Generator", NoGenerator)
    monkeypatch.setattr(torch, "randn", lambda *a, generator=None, **k: randn(*a, **k))
    with FakeTensorMode(allow_non_fake_inputs=True):
        gt = torch.empty(20, 3, 64, 48, device="cuda")
        made = degrade(gt, name, seeds=range(20))
        found = {made.lq.device.type, made.gt.device.type, made.truth.as_target().device.type}
        assert found == {"cuda"} and made.lq.shape == gt.shape
        with pytest.raises(RuntimeError, match="same device"):
            made.lq + torch.zeros(20, 3, 64, 48)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [*WITHOUT_LOOKING, "old_photo", "realesrgan_second_order"])
def test_a_gpu_makes_what_the_cpu_makes(name):
    """The same truth exactly; pixels but for the noise fields, which are the device's own."""
    coarse = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    gt = F.interpolate(coarse, size=(96, 80), mode="bilinear")
    here, there = degrade(gt, name, seeds=range(8)), degrade(gt.cuda(), name, seeds=range(8))
    assert torch.equal(here.truth.as_target(), there.truth.as_target().cpu())
    quiet = here.truth.noise_sigma == 0
    away = (here.lq - there.lq.cpu()).abs().mean((1, 2, 3)) * 127.5
    assert float(away[quiet].max() if quiet.any() else 0) < 0.1
    assert float(away.max()) < 1.5 * float(here.truth.noise_sigma.max()) + 0.5
