"""The Haar step: exact both ways, orthonormal, in the published order of sub-bands."""

import torch

from restore.networks.mobile_stylegan import haar, inverse_haar


def test_there_and_back_is_exact():
    bands = torch.randn(2, 12, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(haar(inverse_haar(bands)), bands)
    image = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    torch.testing.assert_close(inverse_haar(haar(image)), image)


def test_it_keeps_the_energy():
    bands = torch.randn(1, 8, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(inverse_haar(bands).square().sum(), bands.square().sum())


def test_the_four_phases_are_the_published_ones():
    c, bands = 2, torch.randn(1, 8, 3, 3)
    ll = bands[:, :c]
    lh, hl, hh = bands[:, c::3], bands[:, c + 1 :: 3], bands[:, c + 2 :: 3]
    image = inverse_haar(bands)
    torch.testing.assert_close(image[:, :, 0::2, 0::2], (ll + lh + hl + hh) / 2)
    torch.testing.assert_close(image[:, :, 0::2, 1::2], (ll + lh - hl - hh) / 2)
    torch.testing.assert_close(image[:, :, 1::2, 0::2], (ll - lh + hl - hh) / 2)
    torch.testing.assert_close(image[:, :, 1::2, 1::2], (ll - lh - hl + hh) / 2)


def test_a_constant_image_lies_in_ll_alone():
    bands = haar(torch.full((1, 2, 4, 4), 0.5))
    torch.testing.assert_close(bands[:, :2], torch.full((1, 2, 2, 2), 1.0))
    assert torch.equal(bands[:, 2:], torch.zeros(1, 6, 2, 2))
