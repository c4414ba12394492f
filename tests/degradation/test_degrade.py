"""degrade as a whole: reproducible, independent of the split, true to its truth."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.degradation import degrade as module
from restore.degradation.degrade import degrade, each_on_one_thread, one_thread
from restore.degradation.draws import Draws, draws_from
from restore.degradation.recipe import MIXTURES, RECIPES, Mixture, Recipe
from restore.errors import InputError

NAMES = [*RECIPES, *MIXTURES]
OFF = RECIPES["none"]


def faces(n=6, h=48, w=48, seed=0):
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(h, w), mode="bilinear")


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_batch_however_it_is_split(name):
    gt = faces()
    whole = degrade(gt, name, generator())
    again = degrade(gt, name, generator())
    assert torch.equal(whole.lq, again.lq)
    one = generator()
    parts = [degrade(gt[:1], name, one), degrade(gt[1:4], name, one), degrade(gt[4:], name, one)]
    assert torch.equal(torch.cat([p.lq for p in parts]), whole.lq)
    assert torch.equal(torch.cat([p.gt for p in parts]), whole.gt)
    target = torch.cat([p.truth.as_target() for p in parts])
    assert torch.equal(target, whole.truth.as_target())
    if name != "none":
        assert not torch.equal(degrade(gt, name, generator(2)).lq, whole.lq)


@pytest.mark.parametrize("name", NAMES)
def test_form(name):
    gt = faces(4, 40, 56)
    made = degrade(gt, name, generator())
    assert made.lq.shape == made.gt.shape == gt.shape
    assert made.lq.dtype == torch.float32
    steps = (made.lq + 1) * 127.5
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=2e-3)
    assert float(made.lq.abs().max()) <= 1 + 1e-6
    assert float(made.gt.abs().max()) <= 1 + 1e-6
    assert len(made.truth) == 4


@pytest.mark.parametrize("name", NAMES)
def test_chunks_of_unlike_samples_are_single_samples(name, monkeypatch):
    gt = faces(5)
    alone = degrade(gt, name, generator())
    every = lambda stages, device: [np.arange(len(stages[0].height))]  # noqa: E731
    monkeypatch.setattr(module, "_chunks", every)
    together = degrade(gt, name, generator())
    # rounding edges of JPEG and of the 8-bit grid let single pixels differ
    differs = (alone.lq - together.lq).abs() > 3 / 127.5
    assert float(differs.float().mean()) < 0.01
    torch.testing.assert_close(alone.gt, together.gt, rtol=0, atol=1e-5)


def test_chunks_of_an_accelerator_cover_all_once():
    stages = module.draw_stages(Recipe(), Draws(np.arange(50, dtype=np.uint64)), (64, 64))
    chunks = module._chunks(stages, torch.device("meta"))
    assert sorted(np.concatenate(chunks).tolist()) == list(range(50))
    assert max(len(c) for c in chunks) <= module.DEVICE_CHUNK


def test_seeds_and_generators_of_samples():
    gt = faces(3)
    seeds = torch.tensor([5, 6, 7])
    made = degrade(gt, "old_photo", seeds=seeds)
    assert torch.equal(degrade(gt[2:], "old_photo", seeds=[7]).lq[0], made.lq[2])
    three = [generator(i) for i in range(3)]
    many = degrade(gt, "gfpgan", three)
    assert torch.equal(degrade(gt[1:2], "gfpgan", generator(1)).lq[0], many.lq[1])
    for bad in ({}, {"generator": generator(), "seeds": seeds}):
        with pytest.raises(InputError, match="generator and seeds"):
            degrade(gt, **bad)
    with pytest.raises(InputError, match="seeds"):
        degrade(gt, seeds=torch.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(InputError, match="2 generators for 3"):
        degrade(gt, generator=three[:2])


def test_a_generator_goes_on_after_a_resume():
    gt, first = faces(4), generator()
    degrade(gt, "gfpgan", first)
    state = first.get_state()
    straight = degrade(gt, "gfpgan", first)
    resumed = torch.Generator()
    resumed.set_state(state)
    assert torch.equal(degrade(gt, "gfpgan", resumed).lq, straight.lq)


def test_torchs_global_state_is_left_alone():
    before = torch.get_rng_state()
    degrade(faces(2), "restore_default", generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_change_nothing_but_the_time():
    gt = faces(5).requires_grad_()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = degrade(gt, "restore_default", generator())
        torch.set_num_threads(3)
        spread = degrade(gt, "restore_default", generator())
        assert torch.get_num_threads() == 3
        with pytest.raises(InputError, match="generator and seeds"):
            degrade(gt)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert torch.equal(spread.lq, alone.lq)
    assert torch.equal(spread.gt, alone.gt)
    assert not spread.lq.requires_grad
    for threads in (1, 2):  # a bad sample's error comes through
        with pytest.raises(RuntimeError, match="of the second"):
            each_on_one_thread(_fail_at_second, [1, 2, 3], threads)


def test_overlapping_calls_give_torch_its_threads_back():
    cpu = torch.device("cpu")
    before = torch.get_num_threads()
    first_is_in, first_may_go, second_is_in = (threading.Event() for _ in range(3))
    seen = {}

    def first():
        torch.set_num_threads(3)
        with one_thread(cpu) as threads:
            first_is_in.set()
            assert first_may_go.wait(20)
            seen["first"] = threads, torch.get_num_threads()
        seen["first after"] = torch.get_num_threads()

    def second():  # new to torch: it would take the 1 of the first for what the user wants
        with one_thread(cpu) as threads:
            second_is_in.set()
            one.join(20)
            seen["second"] = threads, torch.get_num_threads()
            with one_thread(cpu) as within:
                assert within == 1
            assert torch.get_num_threads() == 1
        seen["second after"] = torch.get_num_threads()

    def later():
        seen["later"] = torch.get_num_threads()

    one, two, three = (threading.Thread(target=f) for f in (first, second, later))
    try:
        one.start()
        assert first_is_in.wait(20)
        two.start()
        assert second_is_in.wait(20)
        first_may_go.set()
        two.join(20)
        three.start()
        three.join(20)
    finally:
        torch.set_num_threads(before)
    assert seen == {
        "first": (3, 1), "first after": 3, "second": (3, 1), "second after": 3, "later": 3,
    }  # fmt: skip


def test_calls_of_several_threads_make_what_single_ones_make():
    gt = faces(6)
    before = torch.get_num_threads()
    alone = [degrade(gt, "restore_default", seeds=range(k, k + 6)) for k in range(4)]
    try:
        torch.set_num_threads(2)
        with ThreadPoolExecutor(4) as pool:
            many = list(
                pool.map(lambda k: degrade(gt, "restore_default", seeds=range(k, k + 6)), range(4))
            )
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone, many, strict=True):
        assert torch.equal(one.lq, other.lq)


def _fail_at_second(item):
    assert not torch.is_grad_enabled()
    if item == 2:
        raise RuntimeError("of the second")


def test_none_only_rounds():
    gt = faces(2)
    made = degrade(gt, "none", generator())
    assert float((made.lq - gt).abs().max()) <= 0.5 / 127.5 + 1e-6
    expected = torch.tensor([[np.log(0.1), 0, 0, 0, 0, 0]] * 2, dtype=torch.float32)
    torch.testing.assert_close(made.truth.as_target(), expected)


def test_truth_lies_in_the_recipes_ranges_whatever_the_size():
    recipe = replace(RECIPES["gfpgan"], reference_size=512)
    for h in (16, 32):
        truth = degrade(faces(100, h, h), recipe, generator()).truth
        for values, low, high in (
            (truth.blur_sigma, 0.1, 10),
            (truth.scale, 0.8, 8),
            (truth.noise_sigma, 0, 20),
            (truth.jpeg_quality, 60, 100),
        ):
            assert low <= float(values.min()) < low + 0.2 * (high - low)
            assert high - 0.2 * (high - low) < float(values.max()) <= high
    assert torch.equal(truth.jpeg_quality, truth.jpeg_quality.round())


def test_truth_tells_what_happened():
    gt = faces(3, 64, 64)
    noisy = degrade(gt, replace(OFF, noise_prob=1.0, noise_range=(6.0, 6.0)), generator())
    measured = ((noisy.lq - gt) * 127.5).std(dim=(1, 2, 3))
    torch.testing.assert_close(measured, noisy.truth.noise_sigma, rtol=0.08, atol=0)
    gray = degrade(gt, replace(OFF, gray_prob=1.0, gt_gray=True), generator())
    assert torch.equal(gray.truth.gray, torch.ones(3))
    torch.testing.assert_close(gray.gt[:, 0], gray.gt[:, 2])
    torch.testing.assert_close(gray.lq[:, 0], gray.lq[:, 2])
    only_lq = degrade(gt, replace(OFF, gray_prob=1.0), generator())
    assert torch.equal(only_lq.gt, gt)
    damaged = degrade(gt, replace(OFF, damage_prob=1.0, damage_range=(0.5, 0.9)), generator())
    assert ((damaged.truth.damage >= 0.5) & (damaged.truth.damage <= 0.9)).all()
    assert ((damaged.lq - gt).abs().amax((1, 2, 3)) > 0.1).all()
    mixed = degrade(faces(40), Mixture((OFF, replace(OFF, gray_prob=1.0)), (0.5, 0.5)), generator())
    assert 8 < float(mixed.truth.gray.sum()) < 32


def test_blur_truth_is_the_blur():
    point = torch.full((1, 3, 65, 65), -1.0)
    point[:, :, 32, 32] = 1.0
    at = torch.arange(65.0) - 32
    for kind in ("iso", "defocus", "motion"):
        recipe = replace(
            OFF, blur_prob=1.0, blur_sigma=(1.0, 1.0), kernel_list=(kind,), kernel_prob=(1.0,)
        )
        made = degrade(point, recipe, generator())
        weight = (made.lq[0, 0] + 1) / (made.lq[0, 0] + 1).sum()
        variance = (weight * at.square()[None]).sum() + (weight * at.square()[:, None]).sum()
        axes = 1 if kind == "motion" else 2
        assert float(variance / axes) == pytest.approx(1.0, abs=0.35)
        assert float(made.truth.blur_sigma) == 1.0


@pytest.mark.parametrize("key", ["blur", "scale"])
def test_a_reference_size_means_the_same_face_at_any_size(key):
    # what a 128 px crop goes through, seen at 64 px
    on = {
        "blur": {"blur_prob": 1.0, "blur_sigma": (4.0, 4.0), "kernel_prob": (1.0, 0.0)},
        "scale": {"downsample_prob": 1.0, "downsample_range": (8.0, 8.0)},
    }[key]
    recipe = replace(OFF, **on, reference_size=128)
    big = faces(2, 128, 128)
    small = F.avg_pool2d(big, 2)
    a = F.avg_pool2d(degrade(big, recipe, generator()).lq, 2)
    b = degrade(small, recipe, generator()).lq
    assert float((a - b).abs().mean()) < 0.2 * float((b - small).abs().mean())


def test_noise_of_a_finer_reference_is_averaged():
    recipe = replace(
        OFF,
        noise_prob=1.0,
        noise_range=(16.0, 16.0),
        downsample_prob=1.0,
        downsample_range=(1.0, 1.0),
        reference_size=256,
    )
    made = degrade(torch.zeros(2, 3, 64, 64), recipe, generator())
    assert float(made.lq.std() * 127.5) == pytest.approx(16 / 4, rel=0.1)
    assert torch.equal(made.truth.noise_sigma, torch.full((2,), 16.0))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    h=st.integers(2, 40),
    w=st.integers(2, 40),
    seed=st.integers(0, 2**40),
)
def test_any_shape(name, h, w, seed):
    made = degrade(faces(2, h, w), name, generator(seed))
    assert made.lq.shape == (2, 3, h, w)
    assert torch.isfinite(made.lq).all()
    assert torch.isfinite(made.truth.as_target()).all()


@settings(max_examples=25, deadline=None)
@given(
    sigma=st.floats(0, 20),
    scale=st.floats(0.3, 40),
    noise=st.floats(0, 255),
    quality=st.integers(1, 100),
)
def test_any_strength(sigma, scale, noise, quality):
    recipe = Recipe(
        blur_sigma=(sigma, sigma),
        downsample_range=(scale, scale),
        noise_range=(noise, noise),
        jpeg_range=(quality, quality),
    )
    made = degrade(faces(1, 33, 31), recipe, generator())
    assert torch.isfinite(made.lq).all()
    assert float(made.truth.jpeg_quality) == quality
    assert float(made.truth.scale) == pytest.approx(scale)


def test_bad_tensors_are_refused():
    good = faces(1)
    for bad, match in (
        (good[0], "n,3,h,w"),
        (good[:, :1], "n,3,h,w"),
        (good[:0], "n,3,h,w"),
        ((good * 127).to(torch.uint8), "uint8"),
        (good * 255, "-1..1"),
        (good / 0, "-1..1"),
        (good.numpy(), "ndarray"),
    ):
        with pytest.raises(InputError, match=match):
            degrade(bad, "gfpgan", generator())


def test_half_precision_comes_out_as_float32():
    assert degrade(faces(1).half(), "light", generator()).lq.dtype == torch.float32


def test_draws_are_uniform_and_unrelated():
    draws = draws_from(4000, None, torch.arange(4000))
    a, b = draws.uniform("a"), draws.uniform("b")
    for u in (a, b, draws.uniforms("c", 3)[:, 1]):
        assert abs(u.mean() - 0.5) < 0.02
        assert abs(u.var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.05
    counts = np.bincount(draws.choice("d", (0.2, 0.5, 0.3)), minlength=3) / 4000
    np.testing.assert_allclose(counts, (0.2, 0.5, 0.3), atol=0.03)
