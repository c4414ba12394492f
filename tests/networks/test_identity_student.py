"""The identity student: unit vectors, batch norms folded, its size."""

from __future__ import annotations

import torch
from torch import nn

from restore.networks.identity import IdentityStudent, folded

TINY = {"dimensions": 8, "widths": (6, 8, 8), "blocks": (1, 1, 1), "head": 12}


def tiny() -> IdentityStudent:
    """A student with batch norms whose statistics are not 0 and 1."""
    torch.manual_seed(0)
    network = IdentityStudent(**TINY, norm=True)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return network.eval()


@torch.inference_mode()
def test_folding_changes_the_form_and_not_the_function():
    network, faces = tiny(), torch.rand(3, 3, 112, 96) * 2 - 1
    plain = folded(network)
    assert plain.arguments["norm"] is False
    assert not any("norm" in type(m).__name__.lower() for m in plain.modules())
    vectors = network(faces)
    torch.testing.assert_close(plain(faces), vectors, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


def test_the_default_fits_into_four_megabytes_of_float16():
    count = sum(weight.numel() for weight in IdentityStudent().parameters())
    assert 0.8e6 < count < 2e6
