"""The search for faces in a photo: overviews, tiles, turned copies, second looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from restore.errors import InputError
from restore.faces.face import Face, keep_faces
from restore.faces.look import Look, Photo, View, bounded, padded, tiles, turned, whole
from restore.faces.nms import merge_looks
from restore.faces.second_look import SecondLook, look_again


@dataclass(frozen=True)
class SearchOptions:
    """How a photo is searched. The defaults were measured: docs/detection.md.

    long_side: bound in px of the overview and side of a tile. small_side: bound of a padded second
    overview, which shows faces that fill the frame as small ones; 0 leaves it out. tiled_side:
    photos larger than `long_side` are looked at once more in tiles, reduced to this long side; 0
    leaves it out. least_side: photos smaller than this are enlarged towards it, at most `enlarge`
    times.
    candidate_score: least score of a first look, in [0,1]. min_score: least final score.
    credible_score: turned copies are tried unless a face reaches it. min_eye_distance: px between
    the eyes below which a face is left out: nothing of the person is left in it. max_faces: None
    for all. sideways: tilt in degrees from which a photo is thought to lie on its side.
    """

    long_side: int = 1280
    small_side: int = 320
    tiled_side: int = 2560
    least_side: int = 640
    enlarge: float = 2.0
    candidate_score: float = 0.3
    min_score: float = 0.5
    credible_score: float = 0.7
    min_eye_distance: float = 5.0
    max_faces: int | None = None
    sideways: float = 45.0
    try_turned: bool = True
    second_look: SecondLook | None = field(default_factory=SecondLook)


@dataclass(frozen=True, eq=False)
class FaceSearch:
    """A detector: a face network and how a photo is searched with it. Thread-safe if `look` is."""

    look: Look
    options: SearchOptions = field(default_factory=SearchOptions)

    def detect(self, image: Photo) -> list[Face]:
        """Faces of an RGB uint8 photo [h,w,3], largest first; an empty list when there are none."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(
                f"photo {image.shape} {image.dtype} cannot be searched; expected RGB uint8 [h,w,3]"
            )
        faces = self._upright(image)
        options = self.options
        credible = [f for f in faces if f.score >= options.credible_score]
        lying = bool(credible) and all(abs(f.tilt) > options.sideways for f in credible)
        if options.try_turned and (lying or not credible):
            faces = self._confirm(image, [*faces, *self._turned(image)])
        return keep_faces(faces, options.min_score, options.min_eye_distance, options.max_faces)

    def _upright(self, photo: Photo) -> list[Face]:
        options = self.options
        side = min(max(options.least_side, max(photo.shape[:2])), options.long_side)
        overview = bounded(whole(photo), side, options.enlarge)
        views = [overview]
        if options.small_side:
            views.append(padded(bounded(overview, options.small_side), 0.25))
        if options.tiled_side and max(photo.shape[:2]) > options.long_side:
            closer = bounded(whole(photo), options.tiled_side)
            views += tiles(closer, options.long_side, options.long_side // 8)
        return self._confirm(photo, self._first_looks(views))

    def _turned(self, photo: Photo) -> list[Face]:
        overview = bounded(whole(photo), self.options.long_side // 2)
        return self._first_looks([turned(overview, quarters) for quarters in (1, 2, 3)])

    def _first_looks(self, views: Sequence[View]) -> list[Face]:
        score = self.options.candidate_score
        return [face for view in views for face in view.faces(self.look, score)]

    def _confirm(self, photo: Photo, candidates: Sequence[Face]) -> list[Face]:
        """Candidates without doubles, after the second look if one is asked for."""
        unique = merge_looks(candidates)
        if self.options.second_look is None:
            return unique
        seen = look_again(self.look, photo, unique, self.options.second_look)
        return merge_looks([face for face in seen if face is not None])
