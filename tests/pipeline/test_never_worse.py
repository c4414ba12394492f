"""Good faces stay: sharp ones of every size, their detail, and neighbours of restored ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from restore.faces.align import face_mask
from restore.pipeline.options import TrustOptions
from restore.pipeline.restorer import Restorer
from tests.faces.nobody import nobody, spoilt
from tests.pipeline.fakes import FixedDetector, face_at
from tests.pipeline.painter import (
    CLEAN,
    Painter,
    Thumbnails,
    face_of,
    psnr,
    restorer_for,
)


@pytest.mark.parametrize(("side", "scale"), [(256, 1), (256, 2), (512, 1), (1024, 1)])
def test_a_sharp_face_is_never_made_worse(side, scale):
    photo = np.ascontiguousarray(nobody(side))
    result = restorer_for(side, size=512, estimate=CLEAN).restore(photo, scale=scale)
    (face,) = result.faces
    assert face.status == "already_good"
    assert "sharp" in face.reason
    assert (face.strength, face.identity, face.changed) == (0.0, 1.0, False)
    plain = Restorer(Painter(64), FixedDetector()).restore(photo, scale=scale).image
    assert psnr(result.image, plain, face_of(side * scale)) > 40


def test_a_small_sharp_face_stays_at_its_own_size_and_is_restored_where_it_is_enlarged():
    photo = np.asarray(cv2.resize(nobody(512), (112, 112), interpolation=cv2.INTER_AREA))
    restorer = restorer_for(112, size=512, estimate=CLEAN)
    assert restorer.restore(photo, scale=1).faces[0].status == "already_good"
    assert restorer.restore(photo, scale=2).faces[0].status == "restored"
    blurred = cv2.GaussianBlur(photo, (0, 0), 3)
    assert restorer.restore(blurred, scale=1).faces[0].status == "restored"


def test_a_restored_neighbour_leaves_a_kept_face_alone():
    """Two faces close together: the left one spoilt and half hidden by the other, which is good."""
    side, apart = 256, 100
    good = np.ascontiguousarray(nobody(side))
    photo = np.concatenate([spoilt(good, blur=5)[:, :apart], good], 1)
    faces = FixedDetector(
        face_at(side / 2, side / 2, side), face_at(side / 2 + apart, side / 2, side)
    )
    restorer = Restorer(Painter(side, CLEAN), faces, identity=Thumbnails())
    result = restorer.restore(photo, scale=1)
    assert [face.status for face in result.faces] == ["occluded", "already_good"]
    middle = (slice(110, 180), slice(apart + side // 2 - 20, apart + side // 2 + 50))
    assert np.abs(result.image[middle].astype(int) - photo[middle]).max() <= 10
    left = (slice(110, 180), slice(90, 140))
    assert np.abs(result.image[left].astype(int) - photo[left]).max() > 20


def test_a_sharp_face_is_restored_where_that_is_asked_for():
    photo = np.ascontiguousarray(nobody(256))
    trust = TrustOptions(keep_good=False)
    result = restorer_for(256, estimate=CLEAN).restore(photo, scale=1, trust=trust)
    assert result.faces[0].status == "restored"
    assert psnr(result.image, photo, face_of(256)) < 30


@pytest.mark.parametrize("damage", [{"blur": 4}, {"noise": 12}, {"jpeg": 12}])
@pytest.mark.parametrize("side", [256, 512])
def test_a_spoilt_face_is_not_called_good(side, damage):
    photo = spoilt(nobody(side), **damage)
    (face,) = restorer_for(side, size=512, estimate=CLEAN).restore(photo, scale=1).faces
    assert face.status == "restored"


def test_the_packaged_model_leaves_a_sharp_face_alone():
    pytest.importorskip("onnxruntime")
    import restore

    if not (Path(restore.__file__).parent / "weights/default.safetensors").is_file():
        pytest.skip("this checkout holds no packaged model")
    restorer = Restorer.load(threads=1, backend="onnxruntime")
    photo = cv2.copyMakeBorder(nobody(512), 60, 60, 90, 90, cv2.BORDER_REPLICATE)
    result = restorer.restore(photo, scale=1)
    assert [face.status for face in result.faces] == ["already_good"]
    inner = (slice(60, -60), slice(90, -90))
    assert psnr(result.image[inner], photo[inner], face_of(512)) > 40
    blurred = cv2.GaussianBlur(photo, (0, 0), 4)
    assert [face.status for face in restorer.restore(blurred, scale=1).faces] == ["restored"]


def test_large_faces_keep_detail_above_the_crop():
    photo = np.ascontiguousarray(nobody(1024))

    def error(**kwargs):
        other = np.ascontiguousarray(nobody(256))
        trust = TrustOptions(keep_good=False, **kwargs)
        restorer = restorer_for(1024, size=256, estimate=CLEAN, other=other)
        result = restorer.restore(photo, scale=1, trust=trust)
        assert result.faces[0].status == "restored"
        return psnr(result.image, photo, face_mask(1024) > 0.9)

    assert error(detail=True) > error(detail=False) + 6
