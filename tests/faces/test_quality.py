"""Blur, noise and blocks measured on a face's own pixels."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.paste import detail_trust
from restore.faces.quality import FaceQuality, face_quality
from restore.geometry import ffhq_template
from tests.faces.nobody import nobody, spoilt


@pytest.mark.parametrize("side", [256, 512])
def test_blur_is_measured_in_px(side):
    own = face_quality(nobody(side)).blur
    for sigma in (2.0, 4.0):
        expected = np.hypot(own, sigma)
        assert face_quality(spoilt(nobody(side), blur=sigma)).blur == pytest.approx(
            expected, rel=0.2
        )


def test_noise_is_measured_also_when_it_was_enlarged():
    import cv2

    own = face_quality(nobody(256)).noise
    assert own < 2.6
    for sigma in (6.0, 12.0):
        noisy = spoilt(nobody(256), noise=sigma)
        # luma of independent noise in R, G, B has 0.67 of its deviation
        assert face_quality(noisy).noise == pytest.approx(0.67 * sigma, rel=0.25)
        clean, large = (
            cv2.resize(face, (512, 512), interpolation=cv2.INTER_CUBIC)
            for face in (nobody(256), noisy)
        )
        assert face_quality(large).noise > 0.2 * sigma
        assert face_quality(clean).noise < 0.5


def test_blocks_of_jpeg_are_seen():
    assert face_quality(nobody(256)).blocks < 0.15
    assert face_quality(spoilt(nobody(256), jpeg=20)).blocks > 0.5


def test_a_crop_without_a_face_is_refused():
    with pytest.raises(InputError, match="holds no face"):
        face_quality(np.zeros((16, 16, 3), np.uint8), ffhq_template(16) + 900)


def test_detail_is_trusted_only_where_there_is_some():
    clean = FaceQuality(1.7, 0.8, 0.03)
    assert detail_trust(1.0, clean) == 0
    assert detail_trust(2.0, clean) == 1
    assert 0 < detail_trust(1.3, clean) < 1
    assert detail_trust(2.0, FaceQuality(1.7, 6.0, 0.03)) == 0
    assert detail_trust(2.0, FaceQuality(5.0, 0.8, 0.03)) == 0
    assert detail_trust(2.0, FaceQuality(1.7, 0.8, 0.8)) == 0
