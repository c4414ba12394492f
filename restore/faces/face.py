"""A face as a detector finds it: box, five landmarks, score; sorting and thinning of faces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError

Points = NDArray[np.float64]

MIRRORED = (1, 0, 2, 4, 3)
"""Order of the five landmarks after a horizontal flip."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in OpenCV pixel coordinates (the centre of pixel i is i).

    box: [4] float64, x0 y0 x1 y1; it may reach beyond the frame of the photo.
    landmarks: [5,2] float64, x y of left eye, right eye, nose, left and right mouth corner, where
        "left" is the left of the upright face as the camera sees it.
    score: the detector's confidence in [0,1].
    """

    box: Points
    landmarks: Points
    score: float

    def __post_init__(self) -> None:
        box = np.array(self.box, np.float64)
        landmarks = np.array(self.landmarks, np.float64)
        if box.shape != (4,) or landmarks.shape != (5, 2):
            raise InputError(
                f"a face has a box of shape {box.shape} and landmarks of shape {landmarks.shape}; "
                "expected (4,) and (5, 2)"
            )
        box.setflags(write=False)
        landmarks.setflags(write=False)
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "landmarks", landmarks)
        object.__setattr__(self, "score", float(self.score))

    @property
    def eye_distance(self) -> float:
        """Pixels between the eyes."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    @property
    def tilt(self) -> float:
        """Degrees by which the head is turned in the image plane: 0 upright, 90 clockwise.

        Measured from the middle of the eyes to the middle of the mouth, which holds for profiles.
        """
        down = self.landmarks[3:].mean(0) - self.landmarks[:2].mean(0)
        return float(np.degrees(np.arctan2(-down[0], down[1])))

    @property
    def size(self) -> float:
        """Larger side of the box in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))

    def transformed(self, matrix: NDArray[np.floating]) -> Face:
        """The same face after a similarity [2,3] of the image; the box stays axis-parallel."""
        x0, y0, x1, y1 = self.box
        corners = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]])
        # A turned box keeps its sides' lengths: the bounding box of its corners would grow.
        centre = _apply(matrix, corners.mean(0)[None])[0]
        linear = np.abs(np.asarray(matrix, np.float64)[:, :2])
        zoom = float(np.sqrt(abs(np.linalg.det(np.asarray(matrix, np.float64)[:, :2]))))
        half = np.array([x1 - x0, y1 - y0]) / 2
        if linear[0, 1] > linear[0, 0]:
            half = half[::-1]
        box = np.concatenate([centre - half * zoom, centre + half * zoom])
        return Face(box, _apply(matrix, self.landmarks), self.score)


def keep_faces(
    faces: Iterable[Face],
    min_score: float = 0.0,
    min_eye_distance: float = 0.0,
    max_faces: int | None = None,
) -> list[Face]:
    """Faces of at least the score in [0,1] and the eye distance in px, largest first.

    `max_faces` keeps the largest ones only. Of faces with eye distance 0 none can be aligned.
    """
    kept = [f for f in faces if f.score >= min_score and f.eye_distance >= min_eye_distance]
    kept.sort(key=lambda f: (-f.size, *f.box))
    return kept if max_faces is None else kept[:max_faces]


def centre_face(faces: Iterable[Face], width: int, height: int) -> Face | None:
    """The face whose box centre is nearest to the middle of a photo of that size, None of none."""
    middle = np.array([width - 1, height - 1]) / 2
    return min(
        faces,
        key=lambda f: float(np.linalg.norm((f.box[:2] + f.box[2:]) / 2 - middle)),
        default=None,
    )


def _apply(matrix: NDArray[np.floating], points: NDArray[np.floating]) -> Points:
    matrix = np.asarray(matrix, np.float64)
    found: Points = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return found


def box_overlaps(box: NDArray[np.floating], boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Per box [n,4] two overlaps with `box` [4], as [2,n]: over the union, over the smaller one."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area, areas = float((box[2:] - box[:2]).prod()), (boxes[:, 2:] - boxes[:, :2]).prod(1)
    union = np.maximum(area + areas - shared, 1e-9)
    return np.stack([shared / union, shared / np.maximum(np.minimum(area, areas), 1e-9)])


def suppress(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], threshold: float
) -> list[int]:
    """Indices of the boxes [n,4] that stay, best first: greedy, by intersection over union."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best = int(order[0])
        kept.append(best)
        overlap = box_overlaps(boxes[best], boxes[order])[0]
        overlap[0] = 1.0
        order = order[overlap < threshold]
    return kept


def merge_looks(faces: Sequence[Face], threshold: float = 0.35, inside: float = 0.65) -> list[Face]:
    """Faces of several looks at one photo without doubles, best score first.

    A face goes when a better one overlaps it by `threshold` of the union, or when one of the two
    lies inside the other by `inside` of its area (an eye or a mouth taken for a face, a face cut
    by a tile's edge).
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: (-f.score, -f.size)):
        if kept:
            union, smaller = box_overlaps(face.box, np.stack([k.box for k in kept]))
            if (union > threshold).any() or (smaller > inside).any():
                continue
        kept.append(face)
    return kept
