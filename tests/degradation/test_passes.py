"""Effects of a pass against OpenCV and plain loops; what they tell the truth."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restore.degradation.degrade import degrade
from restore.degradation.draws import normal_fields
from restore.degradation.passes import (
    _bayer,
    add_blotches,
    pixelate,
    reduce_colors,
    sharpen,
    video_blocks,
)
from restore.degradation.recipe import RECIPES
from restore.degradation.resize import Canvas, full_canvas

OFF = RECIPES["none"]


def picture(n=1, h=40, w=52, seed=0):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 5, 6, generator=g)
    x = F.interpolate(coarse, size=(h, w), mode="bicubic")
    return (x + 0.03 * torch.randn(x.shape, generator=g)).clamp(0, 1)


def plane(x):
    return x[0].permute(1, 2, 0).numpy()


def some(**values):
    return {key: np.array([value]) for key, value in values.items()}


@pytest.mark.parametrize(("amount", "radius"), [(0.5, 0.7), (2.5, 1.6)])
def test_sharpening_is_cv2s_unsharp_mask(amount, radius):
    x = picture()
    made = sharpen(full_canvas(x), some(amount=amount, radius=radius)).pixels
    size = 2 * int(np.ceil(3 * radius)) + 1
    soft = cv2.GaussianBlur(plane(x), (size, size), radius)
    expected = np.clip(plane(x) + amount * (plane(x) - soft), 0, 1)
    np.testing.assert_allclose(plane(made), expected, atol=1e-5)
    assert float(made.std()) > float(x.std())


def test_blotches_are_the_guided_filter_of_the_noisy_picture():
    x = picture()
    drawn = some(sigma=30.0, radius=2.0, keep=1.5, seed=7)
    made = plane(add_blotches(full_canvas(x), drawn).pixels)
    field = normal_fields(drawn["seed"], [(40, 52)], 3, torch.device("cpu"))
    noisy = plane(x + field * 30 / 255).astype(np.float64)
    y = (noisy @ [0.299, 0.587, 0.114])[..., None]
    eps = (1.5 * 30 / 255) ** 2

    def guided(p, side):
        def box(v):
            out = cv2.boxFilter(v, -1, (side, side), borderType=cv2.BORDER_REFLECT_101)
            return out.reshape(v.shape)

        mean = box(p)
        slope = box(p * p) - mean**2
        slope = slope / (slope + eps)
        return box(slope) * p + box(mean * (1 - slope))

    expected = np.clip(guided(y, 5) + guided(noisy - y, 9), 0, 1)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_blotches_are_coarser_and_weaker_than_the_noise_and_the_truth_knows_how_strong():
    flat = torch.zeros(6, 3, 96, 96)
    recipe = replace(OFF, blotch_prob=1.0, blotch_range=(20.0, 20.0))
    made = degrade(flat, recipe, seeds=range(6))
    left = made.lq * 127.5
    assert ((left.std((1, 2, 3)) / made.truth.noise_sigma).log2().abs() < 0.8).all()
    assert (made.truth.noise_sigma < 16).all()
    for one in left:  # neighbours are alike, which white noise's are not
        a, b = one[:, :, 1:].flatten(), one[:, :, :-1].flatten()
        assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.1


def test_a_mosaic_is_cv2s():
    x = picture(1, 48, 60)
    made = pixelate(full_canvas(x), some(cell=4.0)).pixels
    small = cv2.resize(plane(x), (15, 12), interpolation=cv2.INTER_AREA)
    expected = cv2.resize(small, (60, 48), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_allclose(plane(made), expected, atol=1e-5)
    recipe = replace(OFF, mosaic_prob=1.0, mosaic_range=(4.0, 4.0))
    assert degrade(x * 2 - 1, recipe, seeds=[1]).truth.scale.tolist() == [4.0]


def test_few_colours():
    x = picture()
    made = reduce_colors(full_canvas(x), some(levels=5.0, dither=False)).pixels
    torch.testing.assert_close(made * 4, (x * 4).round(), rtol=0, atol=1e-5)
    dithered = reduce_colors(full_canvas(x), some(levels=5.0, dither=True)).pixels
    assert len(dithered.unique()) <= 5
    # on a block of the matrix the mean colour stays
    flat = torch.full((1, 3, 64, 64), 0.4)
    mean = reduce_colors(full_canvas(flat), some(levels=3.0, dither=True)).pixels.mean()
    assert float(mean) == pytest.approx(0.4, abs=0.01)
    assert sorted(_bayer(3).ravel()) == list(range(64))


@pytest.mark.parametrize("wide", [False, True])
def test_video_blocks_are_a_plain_transform(wide):
    gray = picture(1, 32, 48).mean(1, keepdim=True).expand(1, 3, 32, 48)
    drawn = some(step=30.0, wide=wide, deblock=0.0)
    made = video_blocks(full_canvas(gray.contiguous()), drawn).pixels
    side, source = 16 if wide else 8, gray[0, 0].double().numpy()
    expected = np.zeros_like(source)
    for top in range(0, 32, side):
        for left in range(0, 48, side):
            at = slice(top, top + side), slice(left, left + side)
            coefficients = cv2.dct(source[at])
            steps = np.full((side, side), 30 / 255)
            steps[0, 0] *= side / 8
            levels = np.sign(coefficients) * np.floor(np.abs(coefficients) / steps + 1 / 3)
            expected[at] = cv2.idct(levels * steps)
    away = np.abs(made[0, 0].numpy() - np.clip(expected, 0, 1))
    assert (away > 1e-4).mean() < 0.005  # a level beside its edge may fall to the other side
    smooth = video_blocks(full_canvas(gray.contiguous()), {**drawn, "deblock": np.array([1.0])})
    seam = lambda v: float((v[..., side::side] - v[..., side - 1 : -1 : side]).abs().mean())  # noqa: E731
    assert seam(smooth.pixels) < 0.8 * seam(made)
    recipe = replace(OFF, video_prob=1.0, video_range=(50.0, 50.0))
    assert degrade(gray * 2 - 1, recipe, seeds=[1]).truth.jpeg_quality.tolist() == [25.0]


STRONG = {
    sharpen: {"amount": 2.0, "radius": 1.0},
    add_blotches: {"sigma": 30.0, "radius": 2.0, "keep": 1.0, "seed": 5},
    pixelate: {"cell": 3.0},
    reduce_colors: {"levels": 4.0, "dither": True},
    video_blocks: {"step": 40.0, "wide": True, "deblock": 0.5},
}


@pytest.mark.parametrize("effect", STRONG, ids=lambda e: e.__name__)
def test_samples_of_unlike_size_and_strength_in_one_canvas(effect):
    x = picture(3, 40, 52)
    sizes = ((40, 52), (24, 36), (40, 52))
    drawn = {k: np.array([v, v, v]) for k, v in STRONG[effect].items()}
    first = next(iter(drawn))
    drawn[first] = drawn[first] * np.array([1, 1, 0])
    made = effect(Canvas(x, sizes), drawn).pixels
    for i, (h, w) in enumerate(sizes[:2]):
        own = {k: v[i : i + 1] for k, v in drawn.items()}
        alone = effect(full_canvas(x[i : i + 1, :, :h, :w]), own).pixels[0]
        away = (made[i, :, :h, :w] - alone).abs()
        assert float((away > 2e-3).float().mean()) < 0.02
    torch.testing.assert_close(made[2], x[2], rtol=0, atol=1e-6)
