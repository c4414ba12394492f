"""Finding the faces of a photo: which detector, tiles and turns, a second look at each face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError
from restore.faces.align import Matrix, compose, invert, warp
from restore.faces.detectors import Look, Photo, View, bounded, padded, tiles, turned, whole
from restore.faces.face import MIRRORED, Face, keep_faces, merge_looks
from restore.geometry import ffhq_template, similarity


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


@dataclass(frozen=True)
class SearchOptions:
    """How a photo is searched. The defaults were measured: docs/detection.md.

    long_side: bound in px of the overview and side of a tile. small_side: bound of a padded second
    overview, which shows faces that fill the frame as small ones; 0 leaves it out. tiled_side:
    photos larger than `long_side` are looked at once more in tiles, reduced to this long side; 0
    leaves it out. least_side: photos smaller than this are enlarged towards it, at most `enlarge`
    times.
    candidate_score: least score of a first look, in [0,1]. min_score: least final score.
    credible_score: where no face reaches it, or all lie on their side, the turned copies decide as
    the upright photo does; else a face that only they show must reach it. min_eye_distance: px
    between the eyes below which a face is left out: too little is left of it. max_faces: None
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
            turns = self._turned(image, options.long_side // 2)
            faces = self._confirm(image, [*faces, *turns])
        elif options.try_turned:
            # Beside a credible face only what lies elsewhere is looked at again, and must be
            # as credible: sideways, an upright photo holds more that looks like a face.
            # Half of the overview's side: three turns cost three quarters of it.
            turns = self._turned(image, self._overview_side(image) // 2)
            fresh = [face for face in turns if _apart(face, faces)]
            found = self._confirm(image, fresh) if fresh else []
            found = [face for face in found if face.score >= options.credible_score]
            faces = merge_looks([*faces, *found])
        return keep_faces(faces, options.min_score, options.min_eye_distance, options.max_faces)

    def _upright(self, photo: Photo) -> list[Face]:
        options = self.options
        overview = bounded(whole(photo), self._overview_side(photo), options.enlarge)
        views = [overview]
        if options.small_side:
            views.append(padded(bounded(overview, options.small_side), 0.25))
        if options.tiled_side and max(photo.shape[:2]) > options.long_side:
            closer = bounded(whole(photo), options.tiled_side)
            views += tiles(closer, options.long_side, options.long_side // 8)
        return self._confirm(photo, self._first_looks(views))

    def _overview_side(self, photo: Photo) -> int:
        longest = max(int(photo.shape[0]), int(photo.shape[1]))
        return min(max(self.options.least_side, longest), self.options.long_side)

    def _turned(self, photo: Photo, side: int) -> list[Face]:
        overview = bounded(whole(photo), side)
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


def _apart(face: Face, others: Sequence[Face]) -> bool:
    """Whether the middle of a face lies in none of the others' boxes, nor theirs in its own."""
    if not others:
        return True
    boxes = np.stack([other.box for other in others])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    middle = (face.box[:2] + face.box[2:]) / 2
    within = ((middle >= boxes[:, :2]) & (middle <= boxes[:, 2:])).all(1)
    holds = ((middles >= face.box[:2]) & (middles <= face.box[2:])).all(1)
    return not bool((within | holds).any())


class Detector(Protocol):
    """Anything that finds faces in a photo; safe to share between threads."""

    def detect(self, image: Photo) -> Sequence[Face]:
        """Faces of an RGB uint8 photo [h,w,3], largest first."""
        ...


def load_centerface(path: str, options: SearchOptions, threads: int) -> Detector:
    """CenterFace: the packaged file, or another that `python -m tools import-detector` made."""
    from restore.faces.centerface import PACKAGED, CenterFace

    return FaceSearch(CenterFace(path or PACKAGED, threads), options)


def load_yunet(path: str, options: SearchOptions, threads: int) -> Detector:
    """YuNet (cv2.FaceDetectorYN) from a file; OpenCV governs its threads."""
    from restore.faces.detectors import YuNet

    return FaceSearch(YuNet(_file(path, "yunet")), options)


def load_mtcnn(path: str, options: SearchOptions, threads: int) -> Detector:
    """MTCNN of facenet-pytorch with the weights in its wheel; needs the extra `torch`."""
    from restore.faces.detectors import Mtcnn

    return FaceSearch(Mtcnn(), replace(options, second_look=None))


def load_retinaface(path: str, options: SearchOptions, threads: int) -> Detector:
    """RetinaFace of facexlib from a weights file; needs the extra `torch`."""
    from restore.faces.detectors import RetinaFace

    return FaceSearch(RetinaFace(_file(path, "retinaface")), replace(options, second_look=None))


DETECTORS: dict[str, Callable[[str, SearchOptions, int], Detector]] = {
    "default": load_centerface,
    "centerface": load_centerface,
    "yunet": load_yunet,
    "mtcnn": load_mtcnn,
    "retinaface": load_retinaface,
}
"""Name -> loader(file or "", options, threads). A name may carry a file: "yunet:FILE.onnx"."""


def load_detector(
    name_or_path: str | Path = "default",
    options: SearchOptions | None = None,
    threads: int = 2,
) -> Detector:
    """A detector by name, "name:FILE", or the path of a YuNet .onnx file.

    Names: default, centerface, yunet:FILE.onnx, mtcnn, retinaface:FILE.pth. options: how photos are
    searched, the defaults when None. threads: for the network, where it is run by onnxruntime.
    Raises InputError for an unknown name or missing file, MissingExtraError for a missing package.
    """
    text = str(name_or_path)
    name, _, path = text.partition(":")
    if name not in DETECTORS and text.lower().endswith(".onnx"):
        name, path = "yunet", text
    if name not in DETECTORS:
        raise InputError(
            f"detector {text!r} is unknown; expected one of {', '.join(DETECTORS)} (yunet and "
            "retinaface as NAME:FILE) or the path of a YuNet .onnx file"
        )
    return DETECTORS[name](path, options or SearchOptions(), threads)


def _file(path: str, name: str) -> Path:
    if not path:
        raise InputError(f"detector {name!r} needs its weights: give {name}:FILE")
    if not Path(path).is_file():
        raise InputError(f"detector file {path} does not exist; give {name}:FILE")
    return Path(path)
