"""Faces of the protocol and the restorers that are measured on them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from benchmarks.faces import (
    batches,
    load_models,
    open_faces,
    protocol_recipe,
    seed_of,
    small_picture,
    spread,
)
from restore.degradation.degrade import degrade
from restore.errors import CheckpointError, InputError
from restore.metrics.table import rounded_to_bytes
from tests.benchmarks.protocol_faces import NAMES, small_faces
from tests.runtime.models import MOBILE, write_model


@pytest.fixture
def faces(tmp_path):
    return small_faces(tmp_path)


@pytest.mark.parametrize("recipe", ["mild", "gfpgan", "heavy", "old_photo"])
def test_small_picture_enlarges_to_what_the_recipe_would_have_made(faces, recipe):
    bare = {"color_jitter_prob": 0, "color_jitter_pt_prob": 0, "gray_prob": 0}
    kind = replace(protocol_recipe(recipe), **bare, reference_size=None)
    gt, _ = faces.framed(NAMES)
    seeds = [seed_of(recipe, name) for name in NAMES]
    lq = degrade(gt, kind, seeds=seeds).lq
    exact = degrade(gt, replace(kind, upsample_modes=("bicubic",)), seeds=seeds)
    truth, smaller = exact.truth, 0
    for i in range(len(NAMES)):
        side = int(64 // float(truth.scale[i]))
        small = small_picture(lq[i], (side, side))
        if float(truth.scale[i]) <= 1:
            continue
        smaller += 1
        assert small.shape == (side, side, 3)
        large = torch.from_numpy(cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC))
        wanted = exact.lq[i].permute(1, 2, 0) * 127.5 + 127.5
        error = (large.float() - wanted).abs()
        assert float(error.max()) <= 3
        assert float(error.mean()) < 0.5
    assert smaller > 0


def test_a_picture_that_was_not_made_smaller_stays():
    lq = (torch.arange(3 * 8 * 8).reshape(3, 8, 8) / 127.5) - 1
    same = small_picture(lq, (8, 8))
    assert np.array_equal(same, np.arange(192, dtype=np.uint8).reshape(3, 8, 8).transpose(1, 2, 0))
    assert np.array_equal(small_picture(lq, (10, 10)), same)


def test_a_face_has_its_own_seed_whatever_the_count(faces):
    whole = next(batches(faces, "gfpgan", 4))
    alone = next(batches(replace(faces, names=NAMES[2:3]), "gfpgan", 4))
    assert torch.equal(whole.lq[2], alone.lq[0])
    assert not torch.equal(next(batches(faces, "heavy", 4)).lq, whole.lq)


def test_recipes_are_said_of_512_px_and_touch_no_colours():
    recipe = protocol_recipe("gfpgan")
    assert recipe.reference_size == 512 and recipe.color_jitter_prob == 0
    with pytest.raises(InputError, match="expected one of"):
        protocol_recipe("gfpgam")


def test_bicubic_is_the_input_itself_after_several_passes(faces):
    once, twice = (next(batches(faces, name, 4)) for name in ("gfpgan", "small_sharp"))
    assert torch.equal(twice.bicubic, twice.lq)
    assert not torch.equal(once.bicubic, once.lq)
    assert float((once.bicubic - once.lq).abs().mean()) < 0.1


def test_names_are_spread_over_the_sources():
    assert spread("abcdefgh", 4) == ("a", "c", "e", "g")
    assert spread("abc", None) == spread("abc", 7) == ("a", "b", "c")
    with pytest.raises(InputError):
        spread("abc", 0)


def test_a_missing_set_is_named(tmp_path):
    with pytest.raises(InputError, match=r"holds no faces512-val\.tar"):
        open_faces(tmp_path, 512)


@pytest.fixture
def model_file(tmp_path):
    return write_model(tmp_path, "mobile_restorer", MOBILE)


def test_a_model_file_is_run_as_its_network_runs(model_file):
    (model,) = load_models([f"mine={model_file}"])
    lq = next(iter(torch.rand(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))) * 2 - 1
    painted = model.restore(lq, [0.0, 1.0])
    assert model.label == "mine"
    from restore import load_network

    network = load_network(model_file)
    shrunk = torch.nn.functional.interpolate(lq, (32, 32), mode="area")
    for fidelity, image in zip((0.0, 1.0), painted.images, strict=True):
        with torch.no_grad():
            plain = network(rounded_to_bytes(shrunk), fidelity)
        wanted = torch.nn.functional.interpolate(
            plain.image.clamp(-1, 1), (64, 64), mode="bilinear", align_corners=False
        )
        torch.testing.assert_close(image, wanted, atol=1e-5, rtol=0)
    assert not torch.equal(*painted.images)
    torch.testing.assert_close(painted.degradation, plain.degradation, atol=1e-5, rtol=0)


def test_the_runtime_gives_what_torch_gives(model_file):
    pytest.importorskip("onnxruntime")
    from restore.runtime.export import export_model

    export_model(model_file)
    lq = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    (first,) = load_models([str(model_file)])
    (second,) = load_models([str(model_file)], "onnxruntime", threads=1)
    a, b = first.restore(lq, [0.5]), second.restore(lq, [0.5])
    assert float((a.images[0] - b.images[0]).abs().max()) < 2 / 127.5
    torch.testing.assert_close(a.degradation, b.degradation, atol=2e-3, rtol=0)


def test_models_that_cannot_be_compared_are_refused(model_file, tmp_path):
    with pytest.raises(CheckpointError, match="labelled 'tiny'"):
        load_models([str(model_file), str(model_file)])
    zoomed = {"name": "ffhq512", "zoom": 1.2, "centre": [256, 280]}
    other = write_model(tmp_path, "mobile_restorer", MOBILE, "zoomed", template=zoomed)
    with pytest.raises(CheckpointError, match="another template"):
        load_models([str(other)])
