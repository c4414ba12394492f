"""Ways to a face of the generator's full size: sizes, and where their detail comes from."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from restore.benchmarks.face_size import candidates
from restore.networks.unet_encoder import build_mobile_restorer


def test_candidates_have_the_full_size_and_the_detail_keeps_the_lower_ones():
    torch.manual_seed(0)
    network = build_mobile_restorer(
        crop_size=32, trunk_size=8, trunk_channels=(8, 8), condition_levels=(8,), code_rank=4,
        prior_channels=(8, 8, 8, 8), w_dim=8, num_mapping=1, head_sizes=(32,),
    ).eval()  # fmt: skip
    made = candidates(network, torch.zeros(1, 3, 32, 32), 32)
    enlarged, full, detailed = made.values()
    assert enlarged.shape == full.shape == detailed.shape == (1, 3, 64, 64)
    assert not torch.equal(enlarged, detailed)
    # what was added has no weight at the smaller size, but for what bicubic interpolation leaks
    added = F.interpolate(detailed - enlarged, (32, 32), mode="area")
    assert added.square().mean() < 0.2 * (detailed - enlarged).square().mean()
