"""Covered faces: the packaged network, what it is shown, and what it says."""

import cv2
import numpy as np
import pytest

from restore.errors import CheckpointError, InputError
from restore.geometry import ffhq_template
from restore.trust import occlusion
from restore.trust.identity import face_view
from restore.trust.occlusion import CELLS, INSIDE, SIDE, VIEW_POINTS, OcclusionDetector
from tests.faces.nobody import nobody, spoilt


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("onnxruntime")
    return OcclusionDetector()


@pytest.mark.parametrize("spoil", [{}, {"blur": 5}, {"noise": 10}, {"jpeg": 20}])
def test_an_open_face_is_not_covered_however_bad(detector, spoil):
    crop = spoilt(nobody(256), **spoil) if spoil else nobody(256)
    assert detector.covered(crop, ffhq_template(256)) < 0.1


@pytest.mark.parametrize("colour", [(40, 90, 200), (15, 15, 15), (200, 190, 180)])
@pytest.mark.parametrize("blur", [0, 4])
def test_half_a_face_is_seen_where_it_is(detector, colour, blur):
    crop = nobody(256).copy()
    cv2.rectangle(crop, (128, 40), (255, 255), colour, -1)
    crop = spoilt(crop, blur=blur) if blur else crop
    assert detector.covered(crop, ffhq_template(256)) > 0.3
    hidden = detector.maps(crop[None], ffhq_template(256))[0] > 0
    right = INSIDE & (np.arange(CELLS) > CELLS // 2)
    left = INSIDE & (np.arange(CELLS) < CELLS // 2 - 1)
    assert hidden[right].mean() > 0.6
    assert hidden[left].mean() < 0.2


def test_the_size_of_the_crop_matters_little(detector):
    shares = []
    for side in (128, 256, 512):
        crop = nobody(side).copy()
        cv2.rectangle(crop, (side // 2, side // 6), (side - 1, side - 1), (40, 90, 200), -1)
        shares.append(detector.covered(crop, ffhq_template(side)))
    assert max(shares) - min(shares) < 0.1


def test_views_put_the_landmarks_where_the_network_expects_them():
    crop = np.zeros((512, 512, 3), np.uint8)
    for x, y in ffhq_template(512):
        cv2.circle(crop, (round(x), round(y)), 9, (255, 255, 255), -1)
    view = face_view(crop[None], ffhq_template(512), VIEW_POINTS, (SIDE, SIDE))[0]
    for x, y in VIEW_POINTS:
        assert view[round(y), round(x), 0] > 150
    assert view[4, 4, 0] == 0
    with pytest.raises(InputError, match="square"):
        face_view(crop[None, :100], ffhq_template(512), VIEW_POINTS, (SIDE, SIDE))


def test_a_file_without_its_graph_says_how_to_make_it(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(CheckpointError, match="restore export"):
        OcclusionDetector(tmp_path / "occlusion.safetensors").covered(nobody(64), ffhq_template(64))


def test_a_missing_packaged_network_is_said_when_a_restorer_is_loaded(tmp_path, monkeypatch):
    from restore import Restorer

    monkeypatch.setattr(occlusion, "PACKAGED", tmp_path / "occlusion.safetensors")
    occlusion.packaged_occlusion_detector.cache_clear()
    with pytest.raises(
        CheckpointError, match=r"covered faces is missing at .*occlusion\.safetensors"
    ):
        Restorer.load()
