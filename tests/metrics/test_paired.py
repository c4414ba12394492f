"""Metrics of pairs on numbers that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from restore.metrics.paired import landmark_measure, psnr, ssim, to_luma
from restore.networks.facemesh import FACEMESH_POINTS


def pair(n=2, height=24, width=28):
    generator = torch.Generator().manual_seed(5)
    a = torch.randint(0, 256, (n, 3, height, width), generator=generator)
    b = (a + torch.randint(-20, 21, a.shape, generator=generator)).clamp(0, 255)
    return a, b


def as_image(x):
    return x.float() / 127.5 - 1


def test_psnr_of_known_values():
    a = torch.zeros(2, 3, 8, 8)
    b = a.clone()
    b[1] += 10 / 127.5
    values = psnr(a, b)
    assert values[0] == 100
    assert values[1].item() == pytest.approx(20 * math.log10(255 / 10), abs=1e-4)


def test_ssim_and_psnr_equal_skimage():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = pair()
    ours_ssim, ours_psnr = ssim(as_image(a), as_image(b)), psnr(as_image(a), as_image(b))
    for index in range(2):
        x, y = (t[index].permute(1, 2, 0).numpy().astype(np.float64) for t in (a, b))
        expected = metrics.structural_similarity(
            x,
            y,
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ours_ssim[index].item() == pytest.approx(expected, abs=1e-5)
        expected = metrics.peak_signal_noise_ratio(x, y, data_range=255)
        assert ours_psnr[index].item() == pytest.approx(expected, abs=1e-4)


def test_luma_is_matlabs():
    white, black = torch.ones(1, 3, 1, 1), -torch.ones(1, 3, 1, 1)
    assert to_luma(white).item() == pytest.approx(235)
    assert to_luma(black).item() == pytest.approx(16)
    red = torch.tensor([1.0, -1, -1]).reshape(1, 3, 1, 1)
    assert to_luma(red).item() == pytest.approx(16 + 65.481)


@pytest.mark.parametrize("luma", [False, True])
def test_masks_leave_out_what_differs(luma):
    a, b = (as_image(x) for x in pair())
    b[:, :, :, :14] = a[:, :, :, :14]
    mask = torch.zeros(2, 1, 24, 28)
    mask[:, :, :, :14] = 1
    assert psnr(a, b, mask, luma).tolist() == [100, 100]
    assert psnr(a, b, None, luma).max() < 50
    torch.testing.assert_close(ssim(a, b, mask, luma), torch.ones(2, dtype=torch.float64))
    assert ssim(a, b, None, luma).max() < 0.999
    full = torch.ones(2, 1, 24, 28)
    torch.testing.assert_close(ssim(a, b, full), ssim(a, b))
    torch.testing.assert_close(psnr(a, b, full), psnr(a, b))


def test_a_mask_without_room_is_nan():
    a, b = (as_image(x) for x in pair(1))
    mask = torch.zeros(1, 1, 24, 28)
    assert psnr(a, b, mask).isnan().all()
    mask[:, :, :8, :8] = 1  # no 11 x 11 window fits
    assert ssim(a, b, mask).isnan().all()


class Centroid(nn.Module):
    """One landmark, the centroid of brightness; presence 1 where there is any."""

    input_size = (192, 192)
    template = FACEMESH_POINTS
    gray = False

    def forward(self, face):
        bright = (face.mean(1) + 1) / 2
        total = bright.sum((1, 2))
        places = torch.arange(192.0)
        x = (bright.sum(1) * places).sum(1) / total
        y = (bright.sum(2) * places).sum(1) / total
        return torch.stack((x, y, 0 * x), dim=-1)[:, None], torch.where(total > 1, 1.0, -1.0)


@pytest.mark.parametrize("size", [128, 512])
def test_distance_is_in_pixels_of_a_512_crop(size):
    a, b = -torch.ones(2, 3, size, size), -torch.ones(2, 3, size, size)
    unit = size // 64
    a[0, :, 30 * unit : 34 * unit, 30 * unit : 34 * unit] = 1
    b[0, :, 30 * unit : 34 * unit, 33 * unit : 37 * unit] = 1  # 3 / 64 of 512 px to the right
    distance = landmark_measure(Centroid())(a, b, None)
    assert distance[0].item() == pytest.approx(24, abs=0.2)
    assert distance[1].isnan()  # the ground truth shows no face
