"""Half precision trains what float32 trains, within its rounding; fp16 steps over overflows."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from restore.commands.tree import run_verb
from restore.training.distributed import Ranks
from restore.training.experiment import load_state
from restore.training.precision import Stepper
from tests.training.tiny import changed, restorer_options, write

main = partial(run_verb, "train")


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 3, 3, padding=1)
    return nn.Sequential(*layers)


def fitted(dtype, steps=40):
    """Losses and end of a small regression of blurred from sharp noise."""
    model = network()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2)
    stepper = Stepper(Ranks(), dtype, clip=1.0)
    images = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
    target = nn.functional.avg_pool2d(images, 3, 1, 1)
    losses = []
    for _ in range(steps):

        def loss():
            value = (model(images).float() - target).square().mean()
            return value, {"l": value}

        losses.append(float(stepper.step(optimiser, [loss])["l"]))
    return losses, model


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_fits_like_float32(dtype):
    plain, wanted = fitted("fp32")
    half, got = fitted(dtype)
    assert plain[-1] < 0.5 * plain[0]  # it learns at all
    assert half == pytest.approx(plain, rel=0.03)
    for a, b in zip(got.parameters(), wanted.parameters(), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.01)


def test_an_overflow_in_fp16_lowers_the_scale_and_leaves_the_weights():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    stepper = Stepper(Ranks(), "fp16")
    scale = stepper.scaler.get_scale()

    def too_large():
        value = model(torch.full((1, 3, 4, 4), 6e4)).float().square().mean()
        return value, {"l": value}

    stepper.step(optimiser, [too_large])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert stepper.scaler.get_scale() == scale / 2
    again = Stepper(Ranks(), "fp16")
    again.load_state_dict(stepper.state_dict())
    assert again.scaler.get_scale() == scale / 2


def test_the_whole_restorer_step_in_bf16_moves_as_in_float32(tmp_path):
    every_step = {"logger__save_checkpoint_freq": 1, "logger__keep_states": 5}
    options = restorer_options(tmp_path, train__total_iter=4, **every_step)
    for name in ("optim_g", "optim_d", "optim_component"):
        # a large eps: else Adam blows rounding of gradients near zero up to whole steps
        options["train"][name]["eps"] = 1e-2
    assert main(["-opt", str(write(tmp_path, options, "fp32.yml"))]) == 0
    half = changed(options, {"name": "half", "train__precision": "bf16"})
    assert main(["-opt", str(write(tmp_path, half, "bf16.yml"))]) == 0

    def weights(run, step):
        state = load_state(tmp_path / "experiments" / run / "training_states" / f"{step}.state")
        kept = state["trained"]["networks"]["net_g"].values()
        return torch.cat([w.flatten() for w in kept if w.is_floating_point()])

    moved = weights("tiny", 4) - weights("tiny", 1)
    rounding = weights("half", 4) - weights("tiny", 4)
    assert 0 < rounding.norm() < 0.2 * moved.norm()
