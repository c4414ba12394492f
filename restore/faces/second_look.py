"""A second look at each face: upright crops of its own, for better landmarks and a surer score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.face import MIRRORED, Face
from restore.faces.look import Look, Photo
from restore.faces.warp import Matrix, compose, invert, warp
from restore.geometry.similarity import similarity
from restore.geometry.template import ffhq_template


@dataclass(frozen=True)
class SecondLook:
    """How the crops of a second look are made.

    crop: their side in px. zooms: sizes of the face in them, 1 as in an FFHQ crop. angles: turns in
    degrees. mirror: look at the flipped crop as well, which cancels left-right bias. rounds: how
    often to look at most, each time upright by the last landmarks, until these move by less than
    `settled` of the distance of the eyes (mean over the points). min_score: least score in a crop.
    Values: docs/detection.md.
    """

    crop: int = 192
    zooms: tuple[float, ...] = (0.6, 0.9)
    angles: tuple[float, ...] = (0.0,)
    mirror: bool = True
    rounds: int = 3
    settled: float = 0.12
    min_score: float = 0.2


def look_again(
    look: Look, photo: Photo, faces: Sequence[Face], how: SecondLook
) -> list[Face | None]:
    """Each face with averaged landmarks and the mean score over its crops, or None.

    None where the landmarks are degenerate or less than half of the crops show a face there.
    photo: RGB uint8 [h,w,3]. The score counts a crop without a face as 0.
    """
    out: list[Face | None] = []
    for face in faces:
        last, seen = face, None
        for _ in range(how.rounds):
            seen = _once(look, photo, last, how)
            if seen is None:
                break
            moved = float(np.linalg.norm(seen.landmarks - last.landmarks, axis=1).mean())
            if moved < how.settled * seen.eye_distance:
                break
            last = seen
        if seen is not None and _cut(photo, seen):
            # A gray edge through the face makes the network shrink it (by a tenth to a fifth);
            # drawn-out edge pixels do so less, but they can hide the face, so they come second.
            edged = _once(look, photo, seen, how, "replicate")
            if edged is not None:
                seen = Face(edged.box, edged.landmarks, max(seen.score, edged.score))
        out.append(seen)
    return out


def _cut(photo: Photo, face: Face) -> bool:
    """Whether the head, half as large again as the face, reaches beyond the photo."""
    reach = (face.box[2:] - face.box[:2]) / 4
    height, width = photo.shape[:2]
    low, high = face.box[:2] - reach, face.box[2:] + reach
    return bool((low < 0).any() or high[0] > width - 1 or high[1] > height - 1)


def _once(
    look: Look, photo: Photo, face: Face, how: SecondLook, border: str = "constant"
) -> Face | None:
    try:
        upright = similarity(face.landmarks, ffhq_template(how.crop))
    except InputError:  # a false face whose points fall on one spot
        return None
    maps = [
        compose(_turn_zoom(how.crop, zoom, angle), upright)
        for zoom in how.zooms
        for angle in how.angles
    ]
    crops = [warp(photo, matrix, how.crop, how.crop, border, 128) for matrix in maps]
    if how.mirror:
        crops += [crop[:, ::-1] for crop in crops]
    found = look.look_batch(np.ascontiguousarray(np.stack(crops)), how.min_score)
    seen = []
    for index, candidates in enumerate(found):
        matrix = maps[index % len(maps)]
        if index >= len(maps):
            candidates = [_mirrored(c, how.crop) for c in candidates]
        back = invert(matrix)
        match = _same(face, [c.transformed(back) for c in candidates])
        if match is not None:
            seen.append(match)
    if 2 * len(seen) < len(crops):
        return None
    weights = np.array([match.score for match in seen])
    landmarks = np.average([match.landmarks for match in seen], axis=0, weights=weights)
    box = np.average([match.box for match in seen], axis=0, weights=weights)
    return Face(box, landmarks, float(weights.sum() / len(crops)))


def _same(face: Face, candidates: Sequence[Face]) -> Face | None:
    """The candidate nearest to the face, if it is of about its place and size."""
    reach = max(face.size, 1e-6)
    best, least = None, 0.5
    for candidate in candidates:
        away = np.linalg.norm(candidate.landmarks.mean(0) - face.landmarks.mean(0)) / reach
        growth = abs(np.log2(max(candidate.size, 1e-6) / reach))
        distance = float(max(away, growth / 2))
        if distance < least:
            best, least = candidate, distance
    return best


def _mirrored(face: Face, width: int) -> Face:
    """The face found in a flipped image of that width, in the image as it was."""
    box = face.box.copy()
    box[[0, 2]] = width - 1 - box[[2, 0]]
    landmarks = face.landmarks[list(MIRRORED)].copy()
    landmarks[:, 0] = width - 1 - landmarks[:, 0]
    return Face(box, landmarks, face.score)


def _turn_zoom(size: int, zoom: float, degrees: float) -> Matrix:
    """Turn and zoom [2,3] about the middle of the features of an FFHQ crop, moved to the centre."""
    radians = np.radians(degrees)
    linear = zoom * np.array(
        [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]
    )
    pivot: NDArray[np.float64] = np.array([0.5, 0.58]) * size
    return np.concatenate([linear, (np.array([0.5, 0.5]) * size - linear @ pivot)[:, None]], axis=1)
