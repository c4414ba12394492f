"""The benchmark of the prior: groups of faces, and rebuilding on a tiny restorer."""

import numpy as np
import pytest
import torch
from torch import nn

from restore.benchmarks.prior import frechet_table, paint_bank, real_faces
from restore.benchmarks.prior_blind import (
    Rebuilder,
    Rebuilt,
    choose,
    group_of,
    read_ages,
    smallest_alike,
    table_row,
)
from restore.errors import InputError
from restore.networks.perceptual import LpipsLoss
from restore.networks.prior_restorer import Encoding, PriorRestorer
from tests.latents.tiny import mobile

AGES = {"aaf_1": 2, "aaf_2": 6, "aaf_3": 80, "aaf_4": 30}


def test_faces_are_grouped_by_source_and_age_band():
    assert group_of("aaf_1.webp", AGES) == group_of("aaf_2", AGES) == "aaf 2-6"
    assert group_of("aaf_3.webp", AGES) == "aaf 60-80"
    assert group_of("aaf_9.webp", AGES) == "aaf"
    assert group_of("scut_1.webp", AGES) == "scut"
    groups = choose([*AGES, "scut_1.webp", "scut_2.webp", "scut_3.webp"], AGES, 2)
    assert list(groups) == ["aaf 2-6", "aaf 20-39", "aaf 60-80", "scut"]
    assert len(groups["scut"]) == 2
    assert choose(["scut_3.webp", "scut_1.webp", "scut_2.webp"], AGES, 2)["scut"] == groups["scut"]


def test_ages_are_found_by_the_name_that_a_store_gives(tmp_path):
    path = tmp_path / "ages.csv"
    path.write_text("name,age\naaf_000001.webp,2\n")
    ages = read_ages(path)
    assert group_of("aaf_000001", ages) == group_of("aaf_000001.webp", ages) == "aaf 2-6"
    with pytest.raises(InputError, match="does not exist"):
        read_ages(tmp_path / "none.csv")


def test_a_row_holds_means_and_standard_errors():
    row = table_row("scut", [Rebuilt(20, 0.1, 0.5, 0.2), Rebuilt(22, 0.3, 0.7, 0.4)])
    assert row == "| scut | 2 | 21.00 | 0.200 ± 0.100 | 0.600 ± 0.100 | 0.300 |"


class FeaturesOfPixels(nn.Module):
    channels = (3,)

    def forward(self, image):
        return [image]


class Identity(nn.Module):
    input_size, template, gray = (16, 16), np.zeros((5, 2)), False


class Known(nn.Module):
    """An encoder that answers the code it was given."""

    crop_size = 64

    def __init__(self, w_plus):
        super().__init__()
        self.w_plus = w_plus

    def forward(self, lq):
        assert lq.shape[-1] == 64
        return Encoding(self.w_plus, {}, None)


def test_optimisation_comes_nearer_to_a_face_of_a_known_code():
    net = mobile()
    truth = net.w_mean + torch.randn(1, 11, 16)
    gt = torch.nn.functional.avg_pool2d(net.synthesis(truth), 2)
    gt = gt / gt.abs().max()
    mask = torch.ones(1, 1, 32, 32)
    start = net.w_mean.expand(1, 11, -1)
    rebuilder = Rebuilder(
        PriorRestorer(Known(start), net), LpipsLoss(FeaturesOfPixels()), Identity()
    )
    codes = rebuilder.codes(gt)
    assert torch.equal(codes, start)
    better = rebuilder.improved(codes, gt, mask, 30, 32)

    def error(w_plus):
        return (rebuilder.paint(w_plus, 32) - gt).abs().mean()

    assert error(better) < 0.9 * error(codes)
    with pytest.raises(InputError, match="expected a PriorRestorer"):
        Rebuilder(net, LpipsLoss(FeaturesOfPixels()), Identity())


def test_heads_stand_for_the_levels_that_two_generators_share():
    assert smallest_alike(mobile(), mobile()) == 4
    tuned = mobile()
    tuned.blocks["16"].conv1.bias.add_(0.5)
    assert smallest_alike(mobile(), tuned) == 16  # the levels above 16 px are the same
    tuned.to_rgb.bias.add_(0.5)
    assert smallest_alike(mobile(), tuned) == float("inf")


def test_another_generator_paints_and_gives_the_mean():
    net, other = mobile(), mobile(1)
    start = net.w_mean.expand(1, 11, -1)
    rebuilder = Rebuilder(
        PriorRestorer(Known(start), net),
        LpipsLoss(FeaturesOfPixels()),
        Identity(),
        generator=other,
    )
    expected = torch.nn.functional.avg_pool2d(other.synthesis(start), 2)
    torch.testing.assert_close(rebuilder.paint(start, 32), expected)


def test_painted_faces_are_kept_and_found_again(tmp_path):
    path = tmp_path / "bank.npz"
    bank = paint_bank(mobile(), 2, path)
    again = paint_bank(mobile(), 2, path)
    assert set(bank) == {1.0, 0.7, 0.5}
    for psi, faces in bank.items():
        assert faces.shape == (2, 64, 64, 3)
        np.testing.assert_array_equal(faces, again[psi])
    with pytest.raises(InputError, match="fewer than 3"):
        paint_bank(mobile(), 3, path)


@pytest.mark.shared
def test_real_faces_come_in_pairs_of_one_source(shared):
    val, train, mask = real_faces(shared / "faces", 4)
    assert val.shape == train.shape == (4, 3, 256, 256)
    assert 0.6 < mask.mean() < 0.72  # the crop is 1 / 1.2 of the frame's side
    bank = {1.0: np.zeros((4, 64, 64, 3), np.uint8)}
    network = FeaturesOfPixels()
    text = frechet_table(bank, shared / "faces", network)
    floor, black = (float(line.split()[-1]) for line in text.splitlines()[1:])
    assert 0 <= floor < black
