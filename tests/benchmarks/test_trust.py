"""The measurements of trust on faces whose answers are known."""

import numpy as np
import torch

from benchmarks.trust import DAMAGES, OCCLUDERS, occlude, psnr, shrink_to
from tests.faces.nobody import nobody


def test_psnr_is_within_the_mask_and_capped():
    truth = np.zeros((1, 8, 8, 3), np.uint8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    wrong = truth.copy()
    wrong[:, :, 4:] = 200  # outside
    assert psnr(wrong, truth, mask) == 60
    wrong[:, :, :4] = 10
    np.testing.assert_allclose(psnr(wrong, truth, mask), 20 * np.log10(255 / 10))


def test_faces_are_shrunk_to_px_between_the_eyes():
    small = shrink_to(14, 256)(nobody(256))
    assert small.shape == (57, 57, 3)  # 63 px lie between the eyes of 256
    for damage in DAMAGES.values():
        assert damage(small).shape == small.shape and damage(small).dtype == np.uint8
        assert not np.array_equal(damage(small), small)


def test_every_occluder_hides_a_part_of_the_face():
    face = nobody(256)
    for kind, name in enumerate(OCCLUDERS):
        made = occlude(face, kind, np.random.default_rng(0))
        share = (made != face).any(2).mean()
        assert 0.02 < share < 0.5, name
        assert not np.shares_memory(made, face)
