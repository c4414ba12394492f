"""Synthetic photos and faces for the tests of this folder."""

from __future__ import annotations

import cv2
import numpy as np

from restore.faces.face import Face
from restore.geometry import ffhq_template


def smooth_photo(height, width, channels=3, seed=0):
    """A photo without hard edges: noise blown up, uint8 [h,w,c]."""
    random = np.random.default_rng(seed)
    small = random.uniform(30, 225, (max(height // 16, 2), max(width // 16, 2), channels))
    photo = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(photo.reshape(height, width, channels), 0, 255).astype(np.uint8)


def placed_landmarks(centre, eyes, degrees=0.0):
    """The template's points around a centre, with that many pixels between the eyes."""
    points = ffhq_template(512)
    points = (points - points.mean(0)) * eyes / np.linalg.norm(points[1] - points[0])
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + np.asarray(centre, np.float64)


def placed_face(centre, eyes, degrees=0.0, score=0.9):
    points = placed_landmarks(centre, eyes, degrees)
    half = 1.3 * eyes
    centre = points.mean(0)
    return Face(np.concatenate([centre - half, centre + half]), points, score)
