"""Damage of the photo's own pixels: found at every tilt and size, and not where there is none."""

import cv2
import numpy as np
import pytest

from benchmarks.damages import DAMAGES, Placed, place
from restore.faces.looks import damage_odds, face_looks
from restore.pipeline.options import TrustOptions
from restore.pipeline.restorer import Restorer
from tests.faces.nobody import nobody
from tests.pipeline.fakes import FixedDetector, face_at
from tests.pipeline.painter import CLEAN, Painter


def placed(side, tilt, seed=0):
    return place(np.ascontiguousarray(nobody(1024)), 1.0, side, tilt, np.random.default_rng(seed))


def odds(photo, laid):
    looks, _ = face_looks(photo, laid.matrix, laid.size, laid.template)
    return damage_odds(looks)


@pytest.mark.parametrize("side", [64, 112, 240, 400])
@pytest.mark.parametrize("tilt", [0, 2, 8, 30])
def test_a_clean_face_is_clean_at_every_tilt_and_size(side, tilt):
    laid = placed(side, tilt)
    assert odds(laid.photo, laid) < 0


@pytest.mark.parametrize(
    ("kind", "strength"),
    [
        ("JPEG", 10),
        ("JPEG", 30),
        ("JPEG, resized", 30),
        ("noise", 8),
        ("chroma noise", 8),
        ("blur", 1),
        ("enlarged", 2),
        ("mosaic", 4),
        ("flat colours", 12),
        ("smear", 2),
        ("combing", 4),
        ("scratches", 10),
        ("woven", 10),
    ],
)
@pytest.mark.parametrize(("side", "tilt"), [(160, 4), (400, 2)])
def test_each_kind_of_damage_is_seen(kind, strength, side, tilt):
    laid = placed(side, tilt)
    spoilt = DAMAGES[kind].apply(laid.photo, strength, np.random.default_rng(1))
    assert odds(spoilt, laid) > 0
    assert odds(spoilt, laid) > odds(laid.photo, laid) + 2


def test_noise_of_the_colours_alone_is_measured():
    laid = placed(240, 0)
    spoilt = DAMAGES["chroma noise"].apply(laid.photo, 16, np.random.default_rng(3))
    found = [face_looks(p, laid.matrix, 512, laid.template)[1] for p in (laid.photo, spoilt)]
    assert found[1] > 3 * found[0]


def test_a_face_of_a_few_px_is_not_measured():
    photo = np.zeros((6, 6, 3), np.uint8)
    laid = Placed(photo, np.array([[80.0, 0, 0], [0, 80.0, 0]]))
    assert face_looks(photo, laid.matrix, 512, laid.template) == (None, 0.0)


@pytest.mark.parametrize("noise", [1.5, 4.0, 6.0])
def test_sixteen_near_equal_frames_get_near_equal_strength(noise):
    """Frames that differ by little, at a noise where a little becomes too much."""
    side = 240
    clean = cv2.resize(np.ascontiguousarray(nobody(1024)), (side, side), interpolation=3)
    spoilt = clean + np.random.default_rng(99).normal(0, noise, clean.shape)
    restorer = Restorer(Painter(256, CLEAN), FixedDetector(face_at(side / 2, side / 2, side)))
    strengths = []
    for seed in range(16):
        little = np.random.default_rng(seed).normal(0, 0.7, clean.shape)
        frame = np.clip(np.rint(spoilt + little), 0, 255).astype(np.uint8)
        (face,) = restorer.restore(frame, scale=1, trust=TrustOptions(identity="off")).faces
        strengths.append(face.strength)
    assert np.abs(np.diff(strengths)).max() <= 0.15
