"""Damage and texture: nothing at strength zero, more with more, the same face at another size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restore.degradation.damage import DAMAGES
from restore.degradation.draws import Draws
from restore.degradation.prints import emboss_paper, halftone
from restore.options.degradation import DAMAGE_NAMES

DRAWS = Draws(np.arange(8, dtype=np.uint64) * 7919 + 5)
FACE = torch.full((8, 3, 128, 128), 0.4)


def test_recipes_know_every_kind():
    assert tuple(DAMAGES) == DAMAGE_NAMES


@pytest.mark.parametrize("name", list(DAMAGES))
def test_strength_zero_changes_nothing(name):
    strength = np.array([0.0, 0.8] * 4)
    made = DAMAGES[name](FACE, strength, DRAWS, 0.25)
    assert torch.isfinite(made).all()
    torch.testing.assert_close(made[0::2], FACE[0::2], rtol=0, atol=1e-6)
    assert float((made[1::2] - FACE[1::2]).abs().max()) > 0.1
    assert float(made.min()) >= -1e-5
    assert float(made.max()) <= 1 + 1e-5


@pytest.mark.parametrize("name", list(DAMAGES))
def test_more_strength_is_more_damage(name):
    change = [
        float((DAMAGES[name](FACE, np.full(8, s), DRAWS, 0.25) - FACE).abs().mean())
        for s in (0.1, 0.5, 1.0)
    ]
    assert change[0] < change[1] < change[2]


@pytest.mark.parametrize("name", list(DAMAGES))
def test_a_sample_is_damaged_by_its_own_draw(name):
    strength = np.full(8, 0.7)
    whole = DAMAGES[name](FACE, strength, DRAWS, 0.25)
    index = np.array([5])
    alone = DAMAGES[name](FACE[5:6], strength[index], DRAWS.take(index), 0.25)
    torch.testing.assert_close(whole[5], alone[0], rtol=0, atol=1e-6)
    assert not torch.equal(whole[5], whole[4])


@pytest.mark.parametrize("name", ["scratches", "creases", "stains", "borders"])
def test_another_size_shows_the_same_damage(name):
    strength = np.full(8, 0.8)
    big = DAMAGES[name](torch.full((8, 3, 256, 256), 0.4), strength, DRAWS, 0.5)
    small = DAMAGES[name](FACE, strength, DRAWS, 0.25)
    difference = F.avg_pool2d(big, 8) - F.avg_pool2d(small, 4)
    change = F.avg_pool2d(small, 4) - 0.4
    assert float(difference.abs().mean()) < 0.25 * float(change.abs().mean())


def test_halftone_keeps_the_tone_and_makes_dots():
    levels = torch.tensor([0.2, 0.4, 0.6, 0.8]).view(4, 1, 1, 1).expand(4, 3, 128, 128)
    made = halftone(
        levels, np.ones(4), np.full(4, 7.3), np.array([True] * 4), DRAWS.take(np.arange(4))
    )
    torch.testing.assert_close(made.mean((1, 2, 3)), levels[:, 0, 0, 0], rtol=0, atol=0.06)
    assert float(made[1].std()) > 0.2
    assert torch.equal(made[:, 0], made[:, 2])
    same = halftone(
        levels, np.zeros(4), np.full(4, 7.3), np.zeros(4, bool), DRAWS.take(np.arange(4))
    )
    torch.testing.assert_close(same, levels)


@pytest.mark.parametrize("woven", [True, False])
def test_paper_relief_is_as_strong_as_asked(woven):
    strength = np.full(8, 0.05)
    made = emboss_paper(FACE, strength, np.full(8, 5.0), np.full(8, woven), DRAWS)
    relief = (made / FACE - 1)[:, 0]
    assert float(relief.std()) == pytest.approx(0.05, rel=0.35)
    assert float(relief.mean().abs()) < 0.01
