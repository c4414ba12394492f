"""StyleGAN2 discriminator: shapes, minibatch deviation, second-order gradients for R1."""

import pytest
import torch

from restore.networks.discriminators import append_stddev, build_discriminator


@pytest.fixture(scope="module")
def discriminator():
    torch.manual_seed(0)
    return build_discriminator(16, narrow=0.02)


@pytest.mark.parametrize("n", [1, 3, 6, 8])
def test_any_batch_size(discriminator, n):
    assert discriminator(torch.randn(n, 3, 16, 16)).shape == (n, 1)


def test_deviation_by_hand():
    x = torch.zeros(4, 2, 1, 1)
    x[2:, 0] = 2.0  # channel 0: samples 0,1 -> 0 and 2,3 -> 2
    out = append_stddev(x, group=2)
    # groups {0,2} and {1,3}: deviation 1 in channel 0 and 0 (1e-4 by epsilon) in channel 1
    torch.testing.assert_close(out[:, 2].flatten(), torch.full((4,), 0.50005), atol=1e-4, rtol=0)
    assert append_stddev(torch.zeros(6, 2, 1, 1), group=4).shape == (6, 3, 1, 1)


def test_r1_trains_every_parameter(discriminator):
    image = torch.randn(4, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(discriminator(image).sum(), image, create_graph=True)
    gradient.square().sum().backward()
    without = [
        name
        for name, p in discriminator.named_parameters()
        if p.grad is None and not name.endswith("bias")
    ]
    assert not without


def test_wrong_size_is_named(discriminator):
    with pytest.raises(ValueError, match=r"\[n,3,16,16\], got \(1, 3, 8, 8\)"):
        discriminator(torch.zeros(1, 3, 8, 8))
