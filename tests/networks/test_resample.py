"""Fast resampling against the upfirdn reference, and against known numbers."""

import pytest
import torch
import torch.nn.functional as F

from restore.networks import stylegan2

TAPS = (1.0, 2.0, 4.0, 3.0)  # no symmetry, so a wrong flip shows


@pytest.fixture
def image():
    return torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_smooth_equals_reference(image):
    for pad in ((1, 1), (2, 2), (2, 1)):
        expected = stylegan2.upfirdn_reference(image, TAPS, pad=pad, gain=4)
        torch.testing.assert_close(stylegan2.fir_smooth(image, TAPS, pad, gain=4), expected)


def test_up_and_down_equal_reference(image):
    up = stylegan2.upfirdn_reference(image, TAPS, up=2, pad=(2, 1), gain=4)
    torch.testing.assert_close(stylegan2.upsample_fir(image, TAPS), up)
    down = stylegan2.upfirdn_reference(image, TAPS, down=2, pad=(1, 1))
    torch.testing.assert_close(stylegan2.downsample_fir(image, TAPS), down)


def test_reference_convolves_rather_than_correlates():
    impulse = torch.zeros(1, 1, 1, 7)
    impulse[..., 3] = 1
    row = stylegan2.upfirdn_reference(impulse, TAPS, pad=(3, 3), gain=10.0)[0, 0]
    line = row.sum(dim=0)[3:7]  # an impulse through a filter reads out the filter, in order
    torch.testing.assert_close(line, torch.tensor(TAPS))


def test_binomial_filter_is_bilinear_inside(image):
    fir = stylegan2.upsample_fir(image)[..., 2:-2, 2:-2]
    torch.testing.assert_close(fir, stylegan2.upsample_bilinear(image)[..., 2:-2, 2:-2])


def test_bilinear_half_is_interpolation(image):
    expected = F.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(stylegan2.downsample_bilinear(image), expected)


def test_other_tap_counts_are_refused(image):
    with pytest.raises(ValueError, match="4 taps, got 3"):
        stylegan2.upsample_fir(image, (1, 2, 1))
