"""From evidence to a status with a reason."""

import itertools
from dataclasses import replace

import pytest

from restore.trust.verdict import Evidence, Limits, judge

CLEAR = Evidence(60.0, 256, 4.0, 1.0, 0.05)


def test_a_plain_bad_photo_is_restored_without_a_reason():
    verdict = judge(CLEAR)
    assert (verdict.status, verdict.reason, verdict.gentle) == ("restored", None, False)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"eye_distance": 5.0}, "too_small", "5.0 px between the eyes"),
        ({"yaw": -70.0}, "profile", "70 degrees"),
        ({"in_frame": 0.5}, "occluded", "50% of the face lies inside"),
        ({"covered": 0.6}, "occluded", "60% of the face seems to be covered"),
        ({"degradation": {"blur_sigma": 12.0, "scale": 4.0}}, "too_degraded", "blur 12.0"),
        ({"degradation": {"blur_sigma": 3.0, "scale": 14.0}}, "too_degraded", "down-scaling 14.0"),
    ],
)
def test_what_cannot_be_restored_honestly_says_why(change, status, words):
    verdict = judge(replace(CLEAR, **change))
    assert verdict.status == status
    assert words in verdict.reason
    assert verdict.gentle


def test_a_sharp_face_is_good_wherever_it_comes_from():
    sharp = replace(CLEAR, blur=1.5)
    assert judge(sharp).status == "already_good"
    assert not judge(sharp).gentle
    for change in (
        {"noise": 9.0},
        {"looks": 2.0},
        {"blocks": 1.0},
        {"blur": 3.0},
        {"eye_distance": 35.0, "enlarged": 2.0},
        {"eye_distance": 10.5},
        {"degradation": {"damage": 0.1}, "magnified": 4.0},
        {"eye_distance": 20.0, "enlarged": 4.0},
        {"eye_distance": 20.0, "enlarged": 16.0},
        {"degradation": {"scale": 5.0}},
        {"degradation": {"scale": 5.0}, "magnified": 8.0},
        {"degradation": {"jpeg_quality": 50.0}},
        {"degradation": {"damage": 0.4}},
    ):
        assert judge(replace(sharp, **change)).status == "restored", change
    good = {"scale": 1.2, "jpeg_quality": 95.0, "damage": 0.0, "blur_sigma": 0.5}
    assert judge(replace(sharp, degradation=good)).status == "already_good"
    assert judge(replace(sharp, yaw=80.0)).status == "already_good"  # it is left alone anyway
    for change in (
        {"eye_distance": 12.5},
        {"eye_distance": 41.0, "enlarged": 2.0},
        {"eye_distance": 26.0, "enlarged": 1.4},
        {"degradation": {"scale": 4.0}, "magnified": 12.0},
    ):
        assert judge(replace(sharp, **change)).status == "already_good", change
    # edges of lids are wider in px of a larger crop
    assert judge(replace(CLEAR, blur=2.2, side=512)).status == "already_good"
    assert judge(replace(CLEAR, blur=2.8, side=256)).status == "restored"


def test_a_sharp_face_with_some_noise_is_mended_in_part():
    shares = [
        judge(replace(CLEAR, blur=1.5, noise=n)).share for n in (2.7, 4.0, 6.0, 7.9, 8.0, 20.0)
    ]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.1
    assert shares[-1] == 1.0
    verdict = judge(replace(CLEAR, blur=1.5, noise=4.0))
    assert verdict.status == "restored"
    assert "some noise (4.0)" in verdict.reason
    assert judge(replace(CLEAR, blur=3.5, noise=4.0)).share == 1.0


def test_limits_are_options():
    assert judge(replace(CLEAR, yaw=30.0), Limits(most_yaw=20.0)).status == "profile"
    assert judge(replace(CLEAR, eye_distance=12.0), Limits(least_eyes=16.0)).status == "too_small"


@pytest.mark.parametrize(
    ("field", "start", "end"),
    [
        ("noise", 0.5, 12.0),
        ("blur", 1.0, 5.0),
        ("blocks", 0.0, 1.0),
        ("looks", -4.0, 6.0),
        ("eye_distance", 5.0, 30.0),
        ("yaw", 0.0, 80.0),
        ("in_frame", 0.5, 1.0),
        ("covered", 0.0, 0.4),
        ("enlarged", 0.8, 8.0),
    ],
)
def test_nothing_jumps(field, start, end):
    """The strength follows every measurement without a step."""
    for face in (replace(CLEAR, blur=1.5), replace(CLEAR, blur=1.5, noise=5.0), CLEAR):
        steps = [start + (end - start) * k / 400 for k in range(401)]
        strengths = [judge(replace(face, **{field: value})).strength(0.5) for value in steps]
        jumps = [abs(b - a) for a, b in itertools.pairwise(strengths)]
        assert max(jumps) < 0.05


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [("scale", 1.0, 12.0), ("jpeg_quality", 100.0, 20.0), ("damage", 0.0, 1.0)],
)
def test_the_estimate_makes_nothing_jump(name, start, end):
    steps = [start + (end - start) * k / 400 for k in range(401)]
    face = replace(CLEAR, blur=1.5)
    strengths = [judge(replace(face, degradation={name: v})).strength(0.5) for v in steps]
    assert max(abs(b - a) for a, b in itertools.pairwise(strengths)) < 0.06
    assert strengths[0] == 0
    assert max(strengths) > 0.9
