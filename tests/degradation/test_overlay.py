"""Overlays: the same in lq and gt, sharp, of a sample's own seed; occluders stay in gt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restore.degradation.degrade import degrade
from restore.degradation.recipe import MIXTURES, RECIPES

BLURRED = replace(
    RECIPES["none"], blur_prob=1.0, blur_sigma=(5.0, 5.0), kernel_list=("iso",), kernel_prob=(1.0,)
)
KINDS = ("background", "caption", "margin", "cut")


def faces(n=4, h=96, w=96):
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 12, 12, generator=g) * 1.6 - 0.8
    return F.interpolate(coarse, size=(h, w), mode="nearest")


def differs(a, b):
    """Where pixels [3,h,w] are not the same but for rounding."""
    return ((a - b).abs() > 1e-5).any(0)


def all_are(x, value):
    return bool(((x - value).abs() < 1e-5).all())


@pytest.mark.parametrize("kind", KINDS)
def test_lq_and_gt_carry_the_same_overlay(kind):
    gt = faces(8)
    plain = degrade(gt, BLURRED, seeds=range(8))
    laid = degrade(gt, replace(BLURRED, **{f"{kind}_prob": 1.0}), seeds=range(8))
    assert torch.equal(laid.truth.as_target(), plain.truth.as_target())
    assert torch.equal(plain.gt, gt)
    away, before = ((m.lq - m.gt).abs().amax(1) for m in (laid, plain))
    for i in range(8):
        changed, same = differs(laid.gt[i], gt[i]), ~differs(laid.lq[i], plain.lq[i])
        assert same.any() or kind == "background"
        if kind == "cut":
            assert not same.all()  # beyond it each may reflect itself
        elif not changed.any():  # gt itself is the sharp background
            assert kind == "background"
            assert float(away[i].mean()) < 0.9 * float(before[i].mean())
        else:
            assert float(away[i][changed].mean()) < 0.8 * float(before[i][changed].mean())
        if kind == "margin":
            assert float(away[i][changed].max()) < 0.006  # opaque, and lq on the 8-bit grid


def test_a_cut_off_is_straight_and_black_white_or_reflected():
    gt = faces(40)
    made = degrade(gt, replace(BLURRED, cut_prob=1.0), seeds=range(40))
    kinds = set()
    for before, after, lq in zip(gt, made.gt, made.lq, strict=True):
        changed = differs(before, after)
        rows, columns = changed.all(1), changed.all(0)
        for value in (-1.0, 1.0):
            if all_are(after[:, rows], value) and all_are(after[:, :, columns], value):
                strip = after[:, rows] if rows.any() else after[:, :, columns]
                if strip.numel():
                    kinds.add(value)
                    same = (lq[:, rows] - value).abs().max() if rows.any() else 0.0
                    assert float(same) < 1e-6
                    break
        else:
            kinds.add("reflected")
    assert kinds == {-1.0, 1.0, "reflected"}


def test_occluders_are_in_gt_and_were_degraded():
    gt = faces(12)
    plain = degrade(gt, BLURRED, seeds=range(12))
    made = degrade(gt, replace(BLURRED, occluder_prob=1.0), seeds=range(12))
    changed = (made.gt - gt).abs().amax(1) > 0.05
    assert ((changed.float().mean((1, 2)) > 0.005).sum()) >= 9
    for i in np.flatnonzero(changed.flatten(1).any(1).numpy()):
        assert not torch.equal(made.lq[i], plain.lq[i])
        share = (~differs(made.gt[i], gt[i])).float().mean()
        assert float(share) > 0.05
    # blurred with the face: its edges are not in lq
    steps = lambda x: float((x[..., 1:] - x[..., :-1]).abs().amax())  # noqa: E731
    assert steps(made.lq) < 0.5 * steps(made.gt)


@pytest.mark.parametrize("name", ["occluder", *KINDS])
def test_a_sample_hangs_on_its_own_seed_only(name):
    gt = faces(5, 64, 80)
    recipe = replace(BLURRED, **{f"{name}_prob": 0.6})
    whole = degrade(gt, recipe, seeds=range(5))
    for i in range(5):
        alone = degrade(gt[i : i + 1], recipe, seeds=[i])
        assert torch.equal(alone.lq[0], whole.lq[i])
        assert torch.equal(alone.gt[0], whole.gt[i])


def test_nothing_is_laid_over_thumbnails():
    gt = faces(2, 24, 24)
    recipe = replace(BLURRED, occluder_prob=1.0, **{f"{k}_prob": 1.0 for k in KINDS})
    assert torch.equal(degrade(gt, recipe, seeds=[1, 2]).gt, gt)


def test_gray_photos_lie_on_gray_gravel_and_may_have_a_cast():
    recipe = replace(BLURRED, gray_prob=1.0, gt_gray=True, tint_prob=1.0, tint_range=(0.3, 0.3))
    made = degrade(faces(6), replace(recipe, background_prob=1.0), seeds=range(6))
    torch.testing.assert_close(made.gt[:, 0], made.gt[:, 2], rtol=0, atol=1e-5)
    tinted = degrade(faces(6), recipe, seeds=range(6))
    assert float((tinted.lq[:, 0] - tinted.lq[:, 2]).abs().mean()) > 0.02
    assert torch.equal(tinted.gt[:, 0], tinted.gt[:, 1])
    assert torch.equal(tinted.truth.gray, torch.ones(6))
    # colour photos get none
    coloured = degrade(faces(3), replace(BLURRED, tint_prob=1.0), seeds=range(3))
    assert torch.equal(coloured.lq, degrade(faces(3), BLURRED, seeds=range(3)).lq)


def test_the_default_lays_over_about_one_in_eight():
    gt = faces(300, 40, 40)
    recipes = [replace(r, **{"gray_prob": 0.0, "print_gray_prob": 0.0, "sepia_prob": 0.0})
               for r in MIXTURES["restore_default"].recipes]  # fmt: skip
    made = degrade(gt, recipes[-1], seeds=range(300))
    share = float(((made.gt - gt).abs() > 1e-5).flatten(1).any(1).float().mean())
    assert 0.08 < share < 0.24
