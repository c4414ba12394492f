"""GFPGAN's class as photo apps call it."""

import inspect
import logging

import numpy as np
import pytest

from restore.compat.gfpganer import GFPGANer
from restore.pipeline.restorer import Restorer
from tests.pipeline.fakes import FixedDetector, InvertRuntime, face_at
from tests.pipeline.test_restorer import smooth


def ganer(*faces, upscale=2, bg_upsampler=None, **runtime):
    restorer = Restorer(InvertRuntime(**runtime), FixedDetector(*(faces or [face_at(50, 40, 60)])))
    return GFPGANer("unused", upscale, bg_upsampler=bg_upsampler, restorer=restorer)


def test_signatures_are_gfpgans():
    names = list(inspect.signature(GFPGANer.__init__).parameters)[1:7]
    assert names == [
        "model_path", "upscale", "arch", "channel_multiplier", "bg_upsampler", "device",
    ]  # fmt: skip
    assert list(inspect.signature(GFPGANer.enhance).parameters)[1:] == [
        "img", "has_aligned", "only_center_face", "paste_back", "weight",
    ]  # fmt: skip


def test_bgr_in_bgr_out():
    rgb = smooth(83, 101)
    crops, restored, image = ganer().enhance(rgb[..., ::-1], paste_back=True)
    plain = Restorer(InvertRuntime(), FixedDetector(face_at(50, 40, 60))).restore(rgb)
    assert np.array_equal(image[..., ::-1], plain.image)
    assert np.array_equal(crops[0][..., ::-1], plain.faces[0].crop)
    assert np.array_equal(restored[0][..., ::-1], plain.faces[0].restored)


def test_aligned_and_without_paste_back():
    crops, restored, image = ganer().enhance(smooth(96, 90), has_aligned=True)
    assert (len(crops), restored[0].shape, image) == (1, (64, 64, 3), None)
    assert ganer().enhance(smooth(83, 101), paste_back=False)[2] is None


def test_gray_and_alpha():
    assert ganer().enhance(smooth(83, 101, 1)[..., 0])[2].shape == (166, 202, 3)
    assert ganer().enhance(smooth(83, 101, 4))[2].shape == (166, 202, 4)


def test_only_center_face():
    faces = [face_at(20, 20, 20), face_at(52, 40, 30)]
    assert len(ganer(*faces).enhance(smooth(83, 101))[0]) == 2
    assert len(ganer(*faces).enhance(smooth(83, 101), only_center_face=True)[0]) == 1


def test_weight_is_fidelity_or_named_as_unused(caplog):
    photo = smooth(83, 101)
    assert not np.array_equal(ganer().enhance(photo, weight=0.5)[2], ganer().enhance(photo)[2])
    with caplog.at_level(logging.WARNING):
        image = ganer(fidelity=False).enhance(photo, weight=0.5)[2]
    assert np.array_equal(image, ganer().enhance(photo)[2])
    assert "no fidelity dial" in caplog.text


def test_failed_faces_are_named_and_left_out(caplog):
    photo = np.full((83, 101, 3), 200, np.uint8)
    with caplog.at_level(logging.WARNING):
        crops, restored, image = ganer(poison=200).enhance(photo)
    assert (crops, restored) == ([], [])
    assert image.shape == (166, 202, 3)
    assert "poison" in caplog.text


@pytest.mark.parametrize("upscale", [2, 1.5])
def test_background_upsampler_gets_bgr(upscale):
    class Doubler:
        def enhance(self, img, outscale):
            assert img[0, 0].tolist() == [3, 2, 1]
            size = (round(img.shape[0] * outscale), round(img.shape[1] * outscale), 3)
            return np.full(size, (30, 20, 10), np.uint8), "RGB"

    photo = np.full((83, 101, 3), (3, 2, 1), np.uint8)
    image = ganer(face_at(50, 40, 20), upscale=upscale, bg_upsampler=Doubler()).enhance(photo)[2]
    assert image.shape == (round(83 * upscale), round(101 * upscale), 3)
    assert image[0, 0].tolist() == [30, 20, 10]
