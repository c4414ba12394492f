"""JPEG against libjpeg (through Pillow) and against a plain float64 transform."""

from __future__ import annotations

import io
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from restore.degradation import jpeg as jpeg_module
from restore.degradation.jpeg import _code_planes, jpeg, quantisation_tables
from restore.degradation.resize import Canvas, full_canvas

QUALITIES = (10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 98, 100)


def picture(h, w, seed=0):
    """Smooth shapes with edges and some noise: something like a photo, 8 bit."""
    g = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    planes = [127 + 90 * np.sin(x / (5 + 4 * c) + c) * np.cos(y / (7 + 3 * c)) for c in range(3)]
    image = np.stack(planes, -1)
    image[(x - w / 2) ** 2 + (y - h / 2) ** 2 < (h / 4) ** 2] += 60
    return np.clip(image + g.normal(0, 6, image.shape), 0, 255).round().astype(np.uint8)


def libjpeg(image, quality, chroma):
    file = io.BytesIO()
    subsampling = {"444": 0, "422": 1, "420": 2}[chroma]
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file).convert("RGB")).astype(np.float64), file


def ours(image, quality, chroma):
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    out = jpeg(full_canvas(x), np.array([quality]), chroma).pixels[0]
    return out.permute(1, 2, 0).double().numpy() * 255


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 51, 75, 100])
def test_tables_are_libjpegs(quality):
    _, file = libjpeg(picture(16, 16), quality, "444")
    tables = Image.open(file).quantization
    made = quantisation_tables(np.array([quality]))[0].reshape(2, 64)
    np.testing.assert_array_equal(made[0], np.array(tables[0]))
    np.testing.assert_array_equal(made[1], np.array(tables[1]))


@pytest.mark.parametrize("chroma", ["444", "422", "420"])
def test_pixels_are_libjpegs(chroma, capsys):
    lines = []
    for quality in QUALITIES:
        means, worst = [], 0.0
        for i, (h, w) in enumerate([(64, 64), (57, 83), (128, 96), (33, 16), (17, 1)]):
            image = picture(h, w, i)
            error = np.abs(libjpeg(image, quality, chroma)[0] - ours(image, quality, chroma))
            means.append(error.mean())
            worst = max(worst, error.max())
        lines.append((quality, float(np.mean(means)), worst))
    with capsys.disabled():
        sys.stdout.write(
            f"\nJPEG 4:{chroma[1]}:{chroma[2]} against libjpeg, in 1/255: quality mean worst\n"
        )
        for quality, mean, worst in lines:
            sys.stdout.write(f"  {quality:3d}  {mean:.3f}  {worst:.0f}\n")
    assert max(mean for _, mean, _ in lines) < 0.5
    # single coefficients beside a rounding edge fall to the other side
    assert np.mean([mean for _, mean, _ in lines]) < 0.35


def test_the_transform_is_the_plain_sum(monkeypatch):
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64) * 200 - 100
    steps = torch.ones(1, 8, 8, dtype=torch.float64)
    levels = []
    monkeypatch.setattr(jpeg_module, "_quantise", lambda c, step: levels.append(c.clone()) or c)
    out = _code_planes(x, steps, jpeg_module._BLOCK_DCT, lambda v: v)
    plain = np.zeros((8, 8))
    block = x[0, 0].numpy()
    for u in range(8):
        for v in range(8):
            c = (math.sqrt(0.5) if u == 0 else 1) * (math.sqrt(0.5) if v == 0 else 1)
            plain[u, v] = (
                0.25
                * c
                * sum(
                    block[i, j]
                    * math.cos((2 * i + 1) * u * math.pi / 16)
                    * math.cos((2 * j + 1) * v * math.pi / 16)
                    for i in range(8)
                    for j in range(8)
                )
            )
    np.testing.assert_allclose(levels[0].reshape(8, 8).numpy(), plain, atol=1e-10)
    torch.testing.assert_close(out, x, rtol=0, atol=1e-10)  # and back


@pytest.mark.parametrize("chroma", ["444", "420"])
def test_unlike_sizes_in_one_canvas(chroma):
    sizes = ((40, 25), (17, 50), (40, 50))
    plane = torch.rand(3, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    quality = np.array([20, 60, 95])
    made = jpeg(Canvas(plane, sizes), quality, chroma).pixels
    for i, (h, w) in enumerate(sizes):
        alone = jpeg(full_canvas(plane[i : i + 1, :, :h, :w]), quality[i : i + 1], chroma).pixels[0]
        differs = (made[i, :, :h, :w] - alone).abs() > 0.5 / 255
        assert differs.float().mean() < 0.002  # coefficients on a rounding edge


def test_output_is_on_the_8_bit_grid_and_better_with_quality():
    image = picture(64, 64)
    errors = [np.abs(ours(image, q, "420") - image).mean() for q in (5, 20, 50, 80, 100)]
    assert errors == sorted(errors, reverse=True)
    out = ours(image, 50, "420")
    np.testing.assert_allclose(out, out.round(), atol=1e-4)


def test_smaller_steps_are_a_better_quality():
    x = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None].float() / 255
    errors = [
        (jpeg(full_canvas(x), np.array([40]), "444", np.array([s])).pixels - x).abs().mean()
        for s in (1.0, 0.5, 0.1)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("chroma", ["444", "420"])
def test_the_differentiable_one_is_close_and_has_true_gradients(chroma):
    image = picture(32, 32)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    soft = jpeg(full_canvas(x), np.array([75]), chroma, differentiable=True).pixels
    hard = jpeg(full_canvas(x), np.array([75]), chroma).pixels
    assert (soft - hard).abs().mean() < 4 / 255
    small = torch.rand(1, 3, 5, 9, dtype=torch.float64, requires_grad=True)
    run = lambda v: jpeg(full_canvas(v), np.array([75]), chroma, differentiable=True).pixels  # noqa: E731
    assert torch.autograd.gradcheck(run, small, eps=1e-7, atol=1e-4, rtol=1e-3)


def test_unknown_chroma_is_refused():
    with pytest.raises(ValueError, match="411"):
        jpeg(full_canvas(torch.zeros(1, 3, 8, 8)), np.array([50]), "411")
