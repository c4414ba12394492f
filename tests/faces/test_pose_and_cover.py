"""Turned heads and covered faces."""

import cv2
import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.cover import SIDE, VIEW, face_vector, load_face_space
from restore.faces.pose import _HEAD, head_pose
from restore.geometry.template import ffhq_template
from tests.faces.nobody import nobody, spoilt


def turned(yaw, pitch, roll):
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (_HEAD @ (about_z @ about_x @ about_y).T)[:, :2] * 1.7 + (200, 90)


@pytest.mark.parametrize("angles", [(0, 0, 0), (40, 0, 0), (-65, 10, 0), (20, -25, 100)])
def test_pose_of_the_mean_head_is_exact(angles):
    pose = head_pose(turned(*angles))
    np.testing.assert_allclose((pose.yaw, pose.pitch, pose.roll), angles, atol=1e-6)


def test_the_template_looks_ahead():
    pose = head_pose(ffhq_template(512))
    assert abs(pose.yaw) < 3
    assert abs(pose.pitch) < 5
    with pytest.raises(InputError):
        head_pose(np.full((5, 2), 3.0))
    with pytest.raises(InputError):
        head_pose(np.zeros((4, 2)))


def test_a_cover_is_seen_and_a_blur_is_none():
    space = load_face_space()
    template = ffhq_template(256)
    assert space.covered(nobody(256), template) < 0.1
    assert space.covered(spoilt(nobody(256), blur=6, noise=8), template) < 0.1
    hidden = nobody(256).copy()
    cv2.rectangle(hidden, (128, 60), (230, 255), (40, 90, 200), -1)
    assert space.covered(hidden, template) > 0.2


def test_the_vector_minds_neither_light_nor_size():
    one = face_vector(nobody(256), ffhq_template(256))
    darker = (nobody(256) * 0.5 + 20).astype(np.uint8)
    assert np.abs(face_vector(darker, ffhq_template(256)) - one).mean() < 0.2  # of a mean of 1
    large = face_vector(nobody(1024), ffhq_template(1024))
    assert np.abs(large - one).mean() < 0.06
    assert VIEW.min() > 0
    assert VIEW.max() < SIDE
