"""The packaged model on faces it never saw: what comes out is better than what went in."""

from __future__ import annotations

import pytest
import torch

from benchmarks.faces import batches, open_faces
from restore.checkpoints.named_models import WEIGHTS
from restore.metrics.paired import psnr


@pytest.mark.shared
def test_the_default_model_is_nearer_to_the_truth_than_the_input(shared):
    if not (WEIGHTS / "default.safetensors").is_file():
        pytest.skip("this checkout holds no packaged model")
    from restore.checkpoints.load import load_network
    from restore.losses.feature_files import load_feature_network, load_lpips_heads
    from restore.networks.perceptual import LpipsLoss

    network = load_network("default")
    backbone = load_feature_network(shared / "weights" / "squeezenet1_1_features.safetensors")
    lpips = LpipsLoss(backbone, load_lpips_heads("squeeze"))
    faces = open_faces(shared / "faces", 256, 12, "val")
    before, after, enlarged, gained = [], [], [], []
    for batch in batches(faces, "gfpgan", 4):
        lq = torch.nn.functional.interpolate(batch.lq, size=(512, 512), mode="bilinear")
        with torch.no_grad():
            restored = network(lq).image.clamp(-1, 1)
            restored = torch.nn.functional.avg_pool2d(restored, 2)
            before += lpips(batch.lq, batch.gt, batch.mask).tolist()
            after += lpips(restored, batch.gt, batch.mask).tolist()
        enlarged += psnr(batch.bicubic, batch.gt, batch.mask).tolist()
        gained += psnr(restored, batch.gt, batch.mask).tolist()
    assert len(after) == 12
    assert sum(after) < 0.75 * sum(before), (before, after)
    # the aim of the fidelity end: pixels no further from the truth than bicubic enlarging's
    assert sum(gained) > sum(enlarged), (enlarged, gained)
