"""Turned heads."""

import numpy as np
import pytest

from restore.errors import InputError
from restore.faces.quality import _HEAD, head_pose
from restore.geometry import ffhq_template


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
