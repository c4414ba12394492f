"""How a head is turned, from its five landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError

_HEAD = np.array(
    [[-31.5, 0.0, 0.0], [31.5, 0.0, 0.0], [0.0, 37.0, 27.0], [-28.0, 65.5, 2.0], [28.0, 65.5, 2.0]]
)
"""mm: x to the right of the image, y down, z towards the camera; of eyes, nose tip and mouth.

Across and down it is the FFHQ template at 63 mm between the eyes (the adult mean). The depths,
27 mm from the eyes to the tip of the nose and 2 mm to the corners of the mouth, are rounded from
the head model of common pose demonstrations; heads differ by a few millimetres.
"""


@dataclass(frozen=True)
class HeadPose:
    """Degrees. yaw: to the side, positive towards the right of the image. pitch: positive where
    the nose points down. roll: in the image plane, clockwise."""

    yaw: float
    pitch: float
    roll: float


def head_pose(landmarks: NDArray[np.floating]) -> HeadPose:
    """Pose of a head by its landmarks [5,2] (eyes, nose, mouth corners), in px of any scale.

    A scaled orthographic view of a mean head is fitted by least squares; the depth is carried by
    the nose alone, so an error of the nose by a tenth of the eye distance is about 14 degrees.
    Raises InputError where the points lie on one spot.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise InputError(f"landmarks of shape {points.shape}; expected finite [5,2]")
    head = _HEAD - _HEAD.mean(0)
    view = np.linalg.lstsq(head, points - points.mean(0), rcond=None)[0].T  # [2,3]
    down = view[:, 1]
    if np.linalg.norm(view) < 1e-9 or np.linalg.norm(down) < 1e-9:
        raise InputError("landmarks lie on one spot; expected five separate points of a face")
    roll = np.arctan2(-down[0], down[1])
    cos, sin = np.cos(roll), np.sin(roll)
    upright = np.array([[cos, sin], [-sin, cos]]) @ view
    yaw = np.arctan2(upright[0, 2], upright[0, 0])
    # The second row is scale * (-sin yaw sin pitch, cos pitch, cos yaw sin pitch).
    nod = upright[1, 2] * np.cos(yaw) - upright[1, 0] * np.sin(yaw)
    pitch = np.arctan2(nod, upright[1, 1])
    return HeadPose(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))
