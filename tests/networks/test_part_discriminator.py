import pytest
import torch

from restore.networks.discriminators import PartDiscriminator


@pytest.mark.shared
def test_keys_are_those_of_gfpgans_component_discriminator(shared):
    import json

    published = json.loads((shared / "design/state_dicts/FacialComponentD.json").read_text())
    with torch.device("meta"):
        ours = PartDiscriminator().state_dict()
    assert {k: list(v.shape) for k, v in ours.items()} == published


def test_sides_shrink_by_four_and_a_constant_survives_smoothing():
    network = PartDiscriminator(width=2)
    logits, (early, late) = network(torch.rand(2, 3, 24, 16))
    assert logits.shape == (2, 1, 6, 4)
    assert early.shape == (2, 4, 12, 8)
    assert late.shape == (2, 8, 6, 4)
    smooth = network.conv2[0](torch.ones(1, 2, 8, 8))
    assert smooth.shape == (1, 2, 9, 9)
    torch.testing.assert_close(smooth[:, :, 2:-2, 2:-2], torch.ones(1, 2, 5, 5))


def test_gradcheck():
    network = PartDiscriminator(width=1).double()
    part = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: network(x)[0], (part,))
