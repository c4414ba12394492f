"""The default restorer's encoder: what the degradation estimate looks at."""

import pytest
import torch

from restore.networks.unet_encoder import DegradationHead, build_mobile_restorer, face_window

LEVELS, CHANNELS = (16, 8, 4), (2, 3, 4)


@pytest.mark.parametrize("size", [4, 8, 64])
def test_the_face_window_is_a_mean_over_the_face(size):
    rows, columns = face_window(size)
    window = rows[:, None] * columns
    assert window.mean() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(columns, columns.flip(0))
    assert window[[0, 0, -1, -1], [0, -1, 0, -1]].max() <= 0.06 * window.max()
    middle = window[size // 4 : -size // 4, size // 4 : -size // 4].sum() / size**2
    assert middle > 0.6


def features(generator):
    return {
        level: torch.randn(2, c, level, level, generator=generator)
        for level, c in zip(LEVELS, CHANNELS, strict=True)
    }


def test_what_lies_beside_the_face_does_not_change_its_estimate():
    head = DegradationHead(CHANNELS, face_levels=LEVELS)
    down = features(torch.Generator().manual_seed(0))
    before = head(down)
    beside = {level: x.clone() for level, x in down.items()}
    for level, x in beside.items():
        outside = (face_window(level)[0][:, None] * face_window(level)[1]) == 0
        x[:, :, outside] += 100
    torch.testing.assert_close(head(beside), before)
    plain = DegradationHead(CHANNELS)
    plain.load_state_dict(head.state_dict())
    assert (plain(beside) - plain(down)).abs().max() > 1


def test_under_an_even_window_the_mean_is_the_plain_one(monkeypatch):
    monkeypatch.setattr(
        "restore.networks.unet_encoder.face_window", lambda n: (torch.ones(n), torch.ones(n))
    )
    masked, plain = DegradationHead(CHANNELS, face_levels=LEVELS), DegradationHead(CHANNELS)
    plain.load_state_dict(masked.state_dict())
    down = features(torch.Generator().manual_seed(1))
    torch.testing.assert_close(masked(down), plain(down), rtol=1e-4, atol=1e-4)


def test_both_ways_of_pooling_have_the_same_weights():
    sizes = {
        "crop_size": 32, "trunk_size": 16, "trunk_channels": (4, 4, 4), "condition_levels": (8,),
        "code_rank": 4, "prior_channels": (16, 16, 16), "w_dim": 8, "num_mapping": 1,
        "head_sizes": (),
    }  # fmt: skip
    whole = build_mobile_restorer(**sizes)
    face = build_mobile_restorer(**sizes, pool_face=True)
    face.load_state_dict(whole.state_dict())
