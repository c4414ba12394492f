"""Gray stays gray, sepia keeps its tone, colour is no tone."""

import numpy as np

from restore.faces.colour import LUMA, from_unit, match_low_frequency, to_unit, tone_curve
from tests.faces.nobody import nobody


def sepia(face, strength=0.25):
    luma = to_unit(face) @ LUMA
    tint = np.stack([luma**0.8, luma**0.95, luma**1.25], axis=2)
    return from_unit((1 - strength) * luma[..., None] + strength * tint, np.dtype(np.uint8))


def test_gray_is_exact():
    gray = np.repeat(nobody(128)[..., :1], 3, axis=2)
    curve = tone_curve(gray)
    assert curve.gray
    assert curve.monochrome
    out = from_unit(curve.apply(to_unit(nobody(128))), np.dtype(np.uint8))
    assert (out[..., 0] == out[..., 1]).all()
    assert (out[..., 1] == out[..., 2]).all()


def test_sepia_is_one_tone_and_a_colour_face_is_not():
    assert not tone_curve(nobody(256)).monochrome
    for strength in (0.1, 0.25, 1.0):
        toned = sepia(nobody(256), strength)
        curve = tone_curve(toned)
        assert curve.monochrome
        assert not curve.gray
        # a face of the same light and other colours, brought to the tone, is the sepia face again
        other = to_unit(toned) @ LUMA
        other = other[..., None] + (to_unit(nobody(256)) - (to_unit(nobody(256)) @ LUMA)[..., None])
        out = from_unit(curve.apply(other), np.dtype(np.uint8))
        assert np.abs(out.astype(int) - toned).mean() < 1.0
    noisy = sepia(nobody(256)) + np.random.default_rng(0).normal(0, 12, (256, 256, 3))
    assert tone_curve(np.clip(noisy, 0, 255).astype(np.uint8)).monochrome


def test_a_red_mouth_in_a_sepia_face_takes_its_tone():
    toned = sepia(nobody(256))
    reddish = toned.astype(int)
    reddish[180:200, 105:151, 0] += 25
    reddish = np.clip(reddish, 0, 255).astype(np.uint8)
    matched = match_low_frequency(reddish, toned)
    out = from_unit(tone_curve(toned).apply(matched), np.dtype(np.uint8)).astype(int)
    mouth = (slice(182, 198), slice(108, 148))
    tint = (out - toned)[mouth].mean((0, 1))
    assert np.ptp(tint) < 1.5
    # without the curve the fine chroma match takes away most of it already
    left = (from_unit(matched, np.dtype(np.uint8)).astype(int) - toned)[mouth].mean((0, 1))
    assert np.ptp(left) < 0.5 * np.ptp((reddish.astype(int) - toned)[mouth].mean((0, 1)))


def test_a_toned_face_in_coloured_clothes_is_no_monochrome_photo():
    toned = np.repeat((nobody(256).mean(2, keepdims=True)), 3, axis=2) * np.array([1, 0.9, 0.7])
    crop = toned.astype(np.uint8)
    face = np.zeros((256, 256), bool)
    face[:176] = True
    assert tone_curve(crop, face).monochrome
    crop[180:, :128] = (40, 90, 200)
    assert tone_curve(crop, face).spread < 0.012
    assert not tone_curve(crop, face).monochrome
