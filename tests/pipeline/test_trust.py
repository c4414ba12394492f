"""Trust in whole photos: never worse, gentle, identity, colours, fidelity, cancelling."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from restore.errors import CancelledError, CheckpointError, OptionError
from restore.faces.mask import face_mask
from restore.geometry.template import ffhq_template
from restore.pipeline.fidelity import LEAST, auto_fidelity
from restore.pipeline.guard import IdentityGuard, ffhq_views, mixed
from restore.pipeline.restorer import Restorer
from restore.pipeline.trust_options import TrustOptions
from tests.faces.nobody import nobody, spoilt
from tests.faces.test_tone import sepia
from tests.pipeline.fakes import FixedDetector, face_at

CLEAN = (-2.0, 0.1, 0.05, 0.05, 0.0, 0.0)
BAD = (1.0, 2.0, 0.3, 0.5, 0.0, 0.0)
HOPELESS = (2.8, 4.0, 0.3, 0.5, 0.0, 0.0)


class Painter:
    """A network that mixes another face into each crop; fidelity says how much of the crop."""

    name = "painter"

    def __init__(self, size=128, estimate=BAD, other=None, dial=True):
        self.crop_size, self.template, self.estimate = size, ffhq_template(size), estimate
        self.other = 255 - nobody(size)[::-1] if other is None else other
        self.supports_fidelity, self.asked = dial, []

    def run(self, crops, fidelity):
        dial = np.broadcast_to(np.asarray(fidelity, np.float32), len(crops))
        self.asked += dial.tolist()
        painted = [mixed(self.other, crop, 0.4 * f) for crop, f in zip(crops, dial, strict=True)]
        return np.stack(painted), np.tile(np.array(self.estimate, np.float32), (len(crops), 1))


class Thumbnails:
    """Identity by a gray thumbnail: enough to tell an upside-down negative from a face."""

    name = "thumbnails"

    def embed(self, crops):
        small = [cv2.resize(c, (12, 12), interpolation=cv2.INTER_AREA).mean(2) for c in crops]
        flat = np.stack(small).reshape(len(small), -1).astype(np.float32)
        flat -= flat.mean(1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def restorer_for(side, **kwargs):
    """A restorer whose detector knows the face of `nobody(side)`."""
    return Restorer(
        Painter(**kwargs), FixedDetector(face_at(side / 2, side / 2, side)), identity=Thumbnails()
    )


def psnr(a, b, where):
    error = (a.astype(float) - b)[where] ** 2
    return 10 * np.log10(255**2 / max(error.mean(), 1e-9))


def face_of(side):
    return face_mask(side) > 0.05


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


def test_gentle_treatment_is_half_and_can_be_switched_off():
    photo = spoilt(nobody(256), blur=4)
    hopeless = restorer_for(256, estimate=HOPELESS)
    (gentle,) = hopeless.restore(photo, scale=1).faces
    (full,) = hopeless.restore(photo, scale=1, trust=TrustOptions(gentle=False)).faces
    assert gentle.status == full.status == "too_degraded"
    assert (gentle.strength, full.strength) == (0.5, 1.0)
    assert "50% of the restoration" in gentle.reason
    change = [np.abs(face.restored.astype(float) - face.crop).mean() for face in (gentle, full)]
    assert change[0] == pytest.approx(change[1] / 2, rel=0.05)
    (none,) = hopeless.restore(photo, scale=1, trust=TrustOptions(gentle_strength=0)).faces
    assert not none.changed


def test_a_face_cut_by_the_frame_is_said():
    photo = spoilt(nobody(256), blur=4)
    restorer = Restorer(Painter(), FixedDetector(face_at(0, 128, 256)))
    (face,) = restorer.restore(photo, scale=1).faces
    assert face.status == "occluded"
    assert "inside the photo's frame" in face.reason


def test_identity_is_reported_blended_or_kept():
    photo = spoilt(nobody(256), blur=4)
    restorer = restorer_for(256)

    def restored(**kwargs):
        return restorer.restore(photo, scale=1, trust=TrustOptions(**kwargs)).faces[0]

    free = restored()
    assert free.status == "restored"
    assert -1 <= free.identity < 0.9
    assert restored(identity="off").identity is None
    blended = restored(identity="blend", identity_threshold=0.9)
    assert blended.status == "blended"
    assert blended.identity >= 0.9
    assert 0 < blended.strength < 1
    assert "is below 0.90" in blended.reason
    kept = restored(identity="keep", identity_threshold=0.9)
    assert (kept.status, kept.strength, kept.identity) == ("kept", 0.0, 1.0)
    assert np.array_equal(kept.restored, kept.crop)
    assert restored(identity="keep", identity_threshold=-1).status == "restored"
    measured = restorer.guard.cosines([free.crop], [free.restored])[0]
    assert free.identity == pytest.approx(float(measured))


def test_blending_raises_fidelity_first():
    photo = spoilt(nobody(256), blur=4)
    restorer = restorer_for(256)
    trust = TrustOptions(identity="blend", identity_threshold=0.75)
    at_full = restorer.restore(photo, scale=1, fidelity=1.0).faces[0]
    assert at_full.identity > 0.75
    (face,) = restorer.restore(photo, scale=1, fidelity=0.1, trust=trust).faces
    assert (face.status, face.fidelity, face.strength) == ("restored", 1.0, 1.0)
    assert "fidelity was raised" in face.reason
    assert face.identity == pytest.approx(at_full.identity)


def test_without_a_network_it_is_said_and_nothing_breaks():
    photo = spoilt(nobody(256), blur=4)
    restorer = Restorer(Painter(), FixedDetector(face_at(128, 128, 256)), identity_absent="no file")
    result = restorer.restore(photo)
    assert result.faces[0].identity is None
    assert result.notes == ("identity was not measured: no file",)
    assert restorer.restore(photo, trust=TrustOptions(identity="off")).notes == ()
    for policy in ("blend", "keep"):
        with pytest.raises(OptionError, match="no file"):
            restorer.restore(photo, trust=TrustOptions(identity=policy))

    with pytest.raises(OptionError, match="no calibrated threshold"):
        restorer_for(256).restore(photo, trust=TrustOptions(identity="keep"))

    class Broken:
        name = "broken"

        def embed(self, crops):
            raise CheckpointError("the file is damaged")

    restorer = Restorer(Painter(), FixedDetector(face_at(128, 128, 256)), identity=Broken())
    assert "the file is damaged" in restorer.restore(photo).notes[0]


def test_identity_is_asked_in_the_ffhq_frame():
    zoomed = ffhq_template(128, 1.2, (256.0, 280.0))
    crop = np.ascontiguousarray(nobody(128))
    assert np.array_equal(ffhq_views([crop], ffhq_template(128))[0], crop)
    view = ffhq_views([crop], zoomed)[0]
    assert view.shape == crop.shape
    assert not np.array_equal(view, crop)
    guard = IdentityGuard(Thumbnails(), zoomed)
    assert guard.cosines([crop], [crop])[0] == pytest.approx(1)
    assert len(guard.cosines([], [])) == 0


def test_gray_stays_gray_and_sepia_sepia():
    gray = np.repeat(spoilt(nobody(256), blur=4)[..., :1], 3, axis=2)
    image = restorer_for(256).restore(gray, scale=1.5).image
    assert (np.ptp(image, axis=2) == 0).all()
    toned = sepia(spoilt(nobody(256), blur=4))
    painted = nobody(128).copy()
    painted[..., 0] = np.clip(painted[..., 0].astype(int) + 40, 0, 255)
    restorer = restorer_for(256, other=painted)
    image = restorer.restore(toned, scale=1).image.astype(int)
    colour = image[..., 0] - image[..., 2] - (toned[..., 0].astype(int) - toned[..., 2])
    assert np.abs(colour[face_of(256)]).mean() < 4
    free = restorer.restore(toned, scale=1, keep_gray=False).image.astype(int)
    assert (free[..., 0] - free[..., 2])[face_of(256)].mean() > 8 + (
        image[..., 0] - image[..., 2])[face_of(256)].mean()  # fmt: skip


def test_grain_is_matched_and_the_seed_gives_the_same_pixels():
    photo = spoilt(nobody(256), blur=6, noise=14)
    restorer = restorer_for(256, other=spoilt(nobody(128), blur=3))

    def noise(image):
        image = image.astype(np.float64).mean(2)
        return (image - cv2.GaussianBlur(image, (0, 0), 1.5))[140:180, 90:160].std()

    plain, one, two, three = (
        restorer.restore(
            photo, scale=1, fidelity=0, trust=TrustOptions(grain=grain, seed=seed, detail=False)
        ).image
        for grain, seed in (("off", 0), ("match", 0), ("match", 0), ("match", 1))
    )
    assert noise(one) > 1.3 * noise(plain)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_auto_fidelity_follows_the_estimate():
    assert auto_fidelity(None) == auto_fidelity({"blur_sigma": 1.0, "scale": 2.0}) == 1.0
    values = [auto_fidelity({"blur_sigma": sigma, "scale": 1.0}) for sigma in (4, 6, 9, 12, 20)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(LEAST)
    photo = spoilt(nobody(256), blur=4)
    restorer = restorer_for(256, estimate=HOPELESS)
    (face,) = restorer.restore(photo, fidelity="auto").faces
    assert face.fidelity == pytest.approx(LEAST)
    assert restorer.runtime.asked == pytest.approx([1.0, LEAST])
    restorer = restorer_for(256, estimate=CLEAN)
    assert restorer.restore(photo, fidelity="auto").faces[0].fidelity == 1.0
    assert restorer.runtime.asked == [1.0]
    with pytest.raises(OptionError, match="no fidelity dial"):
        restorer_for(256, dial=False).restore(photo, fidelity="auto")
    with pytest.raises(OptionError, match='or "auto"'):
        restorer.restore(photo, fidelity="most")
    assert restorer_for(256, dial=False).restore(photo).faces[0].fidelity is None


def test_cancel_ends_the_work():
    restorer = restorer_for(256)
    answers = iter([False, False, True])
    with pytest.raises(CancelledError):
        restorer.restore(nobody(256), cancel=lambda: next(answers))
    assert restorer.restore(nobody(256), scale=1, cancel=lambda: False).status == "restored"


@pytest.mark.parametrize(
    "wrong",
    [
        {"identity": "maybe"},
        {"grain": "yes"},
        {"identity_threshold": 2.0},
        {"gentle_strength": -0.1},
    ],
)
def test_bad_options(wrong):
    with pytest.raises(OptionError, match="expected"):
        TrustOptions(**wrong)
