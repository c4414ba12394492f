import math

import pytest
import torch

from restore.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    r1_penalty,
)


def test_known_values():
    zero = torch.zeros(3, 1)
    torch.testing.assert_close(generator_loss(zero), torch.full((3,), math.log(2)))
    torch.testing.assert_close(discriminator_loss(zero, zero), torch.full((3,), 2 * math.log(2)))
    sure = torch.full((3, 1), 50.0)
    assert discriminator_loss(sure, -sure).max() < 1e-6


def test_maps_weigh_the_same_and_masks_hold():
    big, small = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 2, 2), 100.0)
    loss = generator_loss([big, small])
    assert loss.item() == pytest.approx(math.log(2) / 2)
    big[..., 4:] = 100
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:] = 1
    assert generator_loss([big], mask).item() < 1e-6
    assert generator_loss([big], 1 - mask).item() == pytest.approx(math.log(2))


def test_r1_of_a_linear_judge_is_its_weights_squared():
    weight = torch.tensor([1.0, -2.0, 0.5])[:, None, None]
    real = torch.rand(2, 3, 4, 4, requires_grad=True)
    logits = (real * weight).sum((1, 2, 3))[:, None]
    torch.testing.assert_close(r1_penalty(logits, real), torch.full((2,), 16 * 5.25))


def test_r1_differentiates_twice():
    conv = torch.nn.Conv2d(1, 1, 3).double()
    real = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)

    def penalty(weight):
        logits = torch.nn.functional.conv2d(real, weight).square()
        return r1_penalty([logits], real)

    assert torch.autograd.gradcheck(penalty, (conv.weight,))


def test_path_length_of_a_linear_generator():
    # image = sum of w over one style: the gradient by w is the summed noise over every pixel
    w = torch.randn(3, 2, 4, requires_grad=True)
    image = w.mean((1, 2))[:, None, None, None] * torch.ones(3, 1, 8, 8)
    generator = torch.Generator().manual_seed(3)
    penalty, mean = path_length_penalty(image, w, torch.tensor(0.0), generator, decay=0.5)
    noise = torch.randn((3, 1, 8, 8), generator=torch.Generator().manual_seed(3)) / 8
    lengths = (noise.sum((1, 2, 3)).abs() / 8) * 2  # |sum| / 8 per entry, 4 entries
    torch.testing.assert_close(mean, lengths.mean() / 2)
    torch.testing.assert_close(penalty, (lengths - mean).square())
    assert not mean.requires_grad
