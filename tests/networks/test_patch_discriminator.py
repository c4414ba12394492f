import pytest
import torch

from restore.losses.adversarial import discriminator_loss
from restore.networks.discriminators import PatchDiscriminator


def test_maps_of_pixels_and_features():
    judge = PatchDiscriminator(width=4, fold=2, feature_channels=(5, 6))
    maps = judge(torch.rand(2, 3, 32, 32), [torch.rand(2, 5, 9, 9), torch.rand(2, 6, 4, 4)])
    assert [tuple(m.shape) for m in maps] == [(2, 1, 4, 4), (2, 1, 9, 9), (2, 1, 4, 4)]
    with pytest.raises(ValueError, match="0 feature maps for 2"):
        judge(torch.rand(2, 3, 32, 32))


def test_spectral_norm_bounds_the_layers():
    judge = PatchDiscriminator(width=4)
    judge.train()
    for _ in range(30):  # power iterations
        judge(torch.rand(1, 3, 32, 32))
    weight = judge.on_pixels.middle.weight.detach()
    assert torch.linalg.matrix_norm(weight.flatten(1), 2) == pytest.approx(1, abs=1e-2)


def test_it_learns_to_tell_noise_from_flat():
    judge = PatchDiscriminator(width=4)
    optimiser = torch.optim.Adam(judge.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(40):
        real = torch.randn(4, 3, 32, 32, generator=generator)
        fake = torch.zeros(4, 3, 32, 32) + torch.randn(4, 3, 1, 1, generator=generator)
        loss = discriminator_loss(judge(real), judge(fake)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.8 * 2 * torch.log(torch.tensor(2.0))
