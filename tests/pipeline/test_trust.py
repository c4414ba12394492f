"""Trust in whole photos: never worse, gentle, identity, colours, fidelity, cancelling."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from restore.errors import CancelledError, CheckpointError, OptionError
from restore.geometry import ffhq_template
from restore.pipeline.guard import IdentityGuard, ffhq_views
from restore.pipeline.network import LEAST, auto_fidelity
from restore.pipeline.options import TrustOptions
from restore.pipeline.restorer import Restorer
from tests.faces.nobody import nobody, spoilt
from tests.faces.test_tone import sepia
from tests.pipeline.fakes import FixedDetector, face_at
from tests.pipeline.painter import (
    CLEAN,
    HOPELESS,
    Painter,
    Thumbnails,
    face_of,
    restorer_for,
)


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
