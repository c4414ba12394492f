"""StyleGAN2 generator: shapes, S-space, noise, truncation, conditions, early exit."""

import pytest
import torch

from restore.networks.stylegan2 import StyleGAN2Generator, build_stylegan2, channel_table


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    net = StyleGAN2Generator(32, (16, 16, 12, 8), w_dim=10, z_dim=6, num_mlp=2).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.3)
    return net


@pytest.fixture
def w_plus(generator):
    return torch.randn(2, generator.num_styles, 10, generator=torch.Generator().manual_seed(1))


def test_channel_table_is_the_public_one():
    assert channel_table(1024, 2) == (512, 512, 512, 512, 512, 256, 128, 64, 32)
    assert channel_table(512, 1, 0.5) == (256, 256, 256, 256, 128, 64, 32, 16)
    with pytest.raises(ValueError, match="power of two"):
        channel_table(100)


def test_shapes_and_contract(generator, w_plus):
    z = torch.randn(3, 6)
    assert generator.mapping(z).shape == (3, 10)
    assert generator(z).shape == (3, 3, 32, 32)
    assert (generator.num_styles, generator.w_dim, generator.out_size) == (8, 10, 32)
    styles = generator.styles(w_plus)
    assert tuple(s.shape[1] for s in styles) == generator.style_sizes
    assert generator.w_mean.shape == (10,)


def test_synthesis_goes_through_styles(generator, w_plus):
    direct = generator.synthesis(w_plus)
    torch.testing.assert_close(generator.synthesis_from_styles(generator.styles(w_plus)), direct)


def test_each_row_of_w_plus_matters_and_samples_are_independent(generator, w_plus):
    base = generator.synthesis(w_plus)
    for row in range(generator.num_styles):
        moved = w_plus.clone()
        moved[0, row] += 1
        out = generator.synthesis(moved)
        assert (out[0] - base[0]).abs().max() > 1e-4
        torch.testing.assert_close(out[1], base[1])


def test_noise_modes(generator, w_plus):
    stored = generator.synthesis(w_plus)
    torch.testing.assert_close(generator.synthesis(w_plus), stored)
    zeros = generator.synthesis(w_plus, noise="zeros")
    seeded = [
        generator.synthesis(w_plus, noise=torch.Generator().manual_seed(s)) for s in (5, 5, 6)
    ]
    torch.testing.assert_close(seeded[0], seeded[1])
    for other in (zeros, seeded[0]):
        assert (other - stored).abs().max() > 1e-3
    assert (seeded[0] - seeded[2]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="stored"):
        generator.synthesis(w_plus, noise="random")


def test_truncation_moves_towards_the_mean(generator):
    z = torch.randn(4, 6)
    mean = generator.estimate_w_mean(2000, torch.Generator().manual_seed(0))
    generator.w_mean.copy_(mean)
    full, half, none = (generator.mapping(z, t) for t in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (full + mean) / 2)
    torch.testing.assert_close(none, mean.expand(4, -1))


def test_smaller_size_is_the_running_image(generator, w_plus):
    small = generator.synthesis(w_plus, size=16)
    assert small.shape == (2, 3, 16, 16)
    # Rows that only later levels read do not touch it.
    moved = w_plus.clone()
    moved[:, 6:] += 1
    torch.testing.assert_close(generator.synthesis(moved, size=16), small)
    with pytest.raises(ValueError, match="Size must be"):
        generator.synthesis(w_plus, size=64)


def test_conditions_change_the_second_half_only_at_their_level(generator, w_plus):
    base = generator.synthesis(w_plus)
    identity = {8: (torch.ones(2, 8, 8, 8), torch.zeros(2, 8, 8, 8))}
    torch.testing.assert_close(generator.synthesis(w_plus, identity), base)
    moved = {16: (torch.full((2, 6, 16, 16), 2.0), torch.ones(2, 6, 16, 16))}
    assert (generator.synthesis(w_plus, moved) - base).abs().max() > 1e-3
    torch.testing.assert_close(
        generator.synthesis(w_plus, moved, size=8), generator.synthesis(w_plus, size=8)
    )


def test_wrong_codes_are_named(generator):
    with pytest.raises(ValueError, match=r"\[n,8,10\], got \(2, 7, 10\)"):
        generator.synthesis(torch.zeros(2, 7, 10))


def test_half_precision_module_is_finite(w_plus):
    torch.manual_seed(0)
    net = build_stylegan2(32, narrow=0.03125, w_dim=10, num_mlp=1)
    expected = net.synthesis(w_plus)
    out = net.half().synthesis(w_plus.half())
    assert out.dtype == torch.float16
    assert (out.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_gradients_reach_the_codes(generator, w_plus):
    w_plus.requires_grad_()
    generator.synthesis(w_plus).square().mean().backward()
    assert (w_plus.grad.abs().amax(dim=(0, 2)) > 0).all()
