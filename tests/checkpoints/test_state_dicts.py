"""The key lists of the published full-size files fit our networks, in both directions."""

import json

import pytest
import torch

from restore.checkpoints.architectures import build_network, detect
from restore.checkpoints.layouts import fold, unfold
from restore.errors import CheckpointError

pytestmark = pytest.mark.shared
GFPGAN = {
    "out_size": 512,
    "num_style_feat": 512,
    "num_mlp": 8,
    "different_w": True,
    "sft_half": True,
}
GENERATOR = {"num_style_feat": 512, "num_mlp": 8, "narrow": 1}
FILES = {
    "GFPGANv1_C1": ("gfpgan-v1", {**GFPGAN, "channel_multiplier": 1, "narrow": 1}),
    "GFPGANv1Clean_C1": ("gfpgan-clean", {**GFPGAN, "channel_multiplier": 1, "narrow": 1}),
    "GFPGANv1Clean_C2": ("gfpgan-clean", {**GFPGAN, "channel_multiplier": 2, "narrow": 1}),
    "GFPGANv1Clean_C2_half": ("gfpgan-clean", {**GFPGAN, "channel_multiplier": 2, "narrow": 0.5}),
    "BasicSR_SG2_C1": (
        "stylegan2-basicsr",
        {**GENERATOR, "out_size": 512, "channel_multiplier": 1},
    ),
    "BasicSR_SG2_C2": (
        "stylegan2-basicsr",
        {**GENERATOR, "out_size": 512, "channel_multiplier": 2},
    ),
    "BasicSR_SG2_1024_C2": (
        "stylegan2-basicsr",
        {**GENERATOR, "out_size": 1024, "channel_multiplier": 2},
    ),
    "SG2Disc_C1": (
        "stylegan2-discriminator",
        {"out_size": 512, "channel_multiplier": 1, "narrow": 1},
    ),
    "SG2Disc_C2": (
        "stylegan2-discriminator",
        {"out_size": 512, "channel_multiplier": 2, "narrow": 1},
    ),
}


def key_list(shared, name):
    listed = json.loads((shared / f"design/state_dicts/{name}.json").read_text())
    return {key: tuple(shape) for key, shape in listed.items()}


@pytest.mark.parametrize("name", FILES)
def test_both_directions(shared, name):
    shapes = key_list(shared, name)
    detection = detect(shapes)
    family, options = FILES[name]
    assert detection.family == family
    assert detection.options == options
    with torch.device("meta"):
        network = build_network(detection.architecture, detection.arguments)
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    ours = network.state_dict()
    folded = fold(state, detection.rules, ours)
    optional = {rule.ours for rule in detection.rules if rule.optional}
    assert set(folded) == set(ours) - optional
    assert all(folded[key].shape == ours[key].shape for key in folded)
    required = [rule for rule in detection.rules if not rule.optional]
    back = {key: tuple(tensor.shape) for key, tensor in unfold(folded, required).items()}
    assert back == shapes


@pytest.mark.parametrize("name", ["CodeFormer", "RestoreFormer", "GPEN-BFR-512", "ParseNet"])
def test_neighbours_are_named(shared, name):
    with pytest.raises(CheckpointError, match=name.split("-")[0]):
        detect(key_list(shared, name))


@pytest.mark.parametrize("name", ["ResNetArcFace18", "FacialComponentD"])
def test_others_are_unknown(shared, name):
    with pytest.raises(CheckpointError, match="No known network"):
        detect(key_list(shared, name))
