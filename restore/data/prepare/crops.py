"""One photo or crop into aligned training crops: settings, detection, what is left out and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np

from restore.data.face_dataset import (
    FaceRecord,
    part_boxes,
    source_of,
    template_landmarks,
    valid_mask,
)
from restore.data.stores import encode_image
from restore.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """All that decides what a crop looks like; a resumed preparation must have the same.

    size, zoom, centre: of the crops, the FFHQ template enlarged by zoom about centre (512 px
    units). aligned: the inputs are crops, aligned on in_zoom about in_centre. detector: a name of
    `load_detector`; with aligned inputs None takes the template's landmarks. faces: which of a
    photo. encoding: file kind of the crops.

    The filters: min_score in [0,1]; min_side px of the photo that the crop's side must cover, as a
    share of size; min_sharpness (see `sharpness`); min_inside, share of the crop that must lie in
    the photo; max_tilt degrees; max_turn, how far the nose may be from between the eyes, as a share
    of their distance (1 about a profile).
    """

    size: int = 512
    zoom: float = 1.0
    centre: tuple[float, float] = (256.0, 256.0)
    aligned: bool = False
    in_zoom: float = 1.0
    in_centre: tuple[float, float] = (256.0, 256.0)
    detector: str | None = "default"
    faces: Literal["all", "largest"] = "all"
    encoding: Literal["png", "webp", "jpg"] = "png"
    quality: int = 95
    source: str = "prefix"
    """"prefix" of the name up to the first underscore, "folder", or the source's own name."""
    min_score: float = 0.6
    min_side: float = 0.5
    min_sharpness: float = 1.2
    min_inside: float = 0.8
    max_tilt: float = 60.0
    max_turn: float = 0.9

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InputError("; ".join(problems))

    def _problems(self) -> Iterable[str]:
        if self.size < 8:
            yield f"size: found {self.size}, expected at least 8 px"
        for name in ("zoom", "in_zoom"):
            if getattr(self, name) <= 0:
                yield f"{name}: found {getattr(self, name)}, expected above 0"
        for name in ("min_score", "min_inside"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}: found {getattr(self, name)}, expected 0..1"
        if not self.aligned and self.detector is None:
            yield "detector: none; photos need one (aligned crops do not)"

    def to_plain(self) -> dict[str, Any]:
        """For the file beside the set, as JSON gives it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


Crop = tuple[np.ndarray, np.ndarray]
"""Pixels uint8 RGB [s,s,3] and the map photo -> crop [2,3], OpenCV pixels."""


@dataclass(frozen=True)
class FaceTools:
    """decode: file bytes -> upright RGB uint8 [h,w,3]. detect: that -> faces with landmarks [5,2],
    box [4] and score. align: photo, landmarks, template [5,2], size -> Crop. warp: photo, map
    [2,3], size -> pixels. template: size, zoom, centre -> [5,2].
    """

    decode: Callable[[bytes], np.ndarray]
    detect: Callable[[np.ndarray], Sequence[Any]]
    align: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Crop]
    warp: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    template: Callable[[int, float, tuple[float, float]], np.ndarray]


def load_face_tools(detector: str | None, threads: int = 1) -> FaceTools:
    """The library's own tools; `detector` is a name of `load_detector`, None finds nothing.

    Preparation is a program above the rest of `data`, which knows nothing of faces.
    """
    from restore.faces.align import align_face, warp
    from restore.geometry import ffhq_template
    from restore.images import files
    from restore.images.pixels import to_rgb, to_uint8

    find: Callable[[np.ndarray], Sequence[Any]] = lambda photo: []  # noqa: E731
    if detector is not None:
        from restore.faces.detect import load_detector

        find = load_detector(detector, threads=threads).detect

    def decode(data: bytes) -> np.ndarray:
        return np.ascontiguousarray(to_rgb(to_uint8(files.decode_photo(data).pixels)))

    def aligned(photo: np.ndarray, landmarks: np.ndarray, template: np.ndarray, size: int) -> Crop:
        face = align_face(photo, landmarks, template, size)
        return face.crop, face.matrix

    return FaceTools(
        decode=decode,
        detect=find,
        align=aligned,
        warp=lambda photo, matrix, size: warp(photo, matrix, size, size),
        template=ffhq_template,
    )


THUMBNAIL = 96


@dataclass(frozen=True, eq=False)
class Kept:
    """A crop for the set: file bytes, record and a thumbnail uint8 RGB [96,96,3]."""

    key: str
    data: bytes
    record: FaceRecord
    thumbnail: np.ndarray


@dataclass(frozen=True, eq=False)
class Dropped:
    """A face or photo that is left out: why, in a word of `REASONS` and in a sentence."""

    photo: str
    face: int | None
    reason: str
    detail: str
    thumbnail: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class PhotoResult:
    """What became of one photo."""

    photo: str
    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]


REASONS = {
    "unreadable": "the file cannot be read as a picture",
    "no face": "the detector found nothing",
    "score": "the detector is not sure",
    "landmarks": "the five points cannot be aligned",
    "small": "the crop covers too few pixels of the photo",
    "border": "too much of the crop lies outside the photo",
    "tilt": "the head lies on its side",
    "turn": "the head is turned away",
    "blurred": "the crop is not sharp",
}


def prepare_photo(
    photo: str, key: str, data: bytes, settings: PrepareSettings, tools: FaceTools
) -> PhotoResult:
    """The crops of one input. photo: its name for reports; key: that of its first face."""
    try:
        pixels = tools.decode(data)
    except InputError as error:
        return PhotoResult(photo, (), (Dropped(photo, None, "unreadable", str(error)),))
    if settings.aligned:
        return _aligned_crop(photo, key, pixels, settings, tools)
    faces = sorted(tools.detect(pixels), key=lambda face: -face.size)
    if settings.faces == "largest":
        faces = faces[:1]
    if not faces:
        return PhotoResult(photo, (), (Dropped(photo, None, "no face", "no face was found"),))
    template = tools.template(settings.size, settings.zoom, settings.centre)
    results: list[Kept | Dropped] = []
    for number, face in enumerate(faces):
        try:
            crop, matrix = tools.align(pixels, face.landmarks, template, settings.size)
        except InputError as error:
            results.append(Dropped(photo, number, "landmarks", str(error)))
            continue
        own = key if number == 0 else f"{key}--{number}"
        results.append(
            _judged(photo, own, number, pixels.shape, crop, matrix, face.landmarks, face.score,
                    settings)
        )  # fmt: skip
    return _sorted_results(photo, results)


def _aligned_crop(
    photo: str, key: str, pixels: np.ndarray, settings: PrepareSettings, tools: FaceTools
) -> PhotoResult:
    """A crop of one template brought to another; its landmarks by detection or the template's."""
    side = min(pixels.shape[:2])
    landmarks, score = template_landmarks(side, settings.in_zoom, settings.in_centre), 1.0
    if settings.detector is not None:
        faces = tools.detect(pixels)
        if not faces:
            return PhotoResult(photo, (), (Dropped(photo, None, "no face", "no face was found"),))
        middle = np.full(2, (side - 1) / 2)
        face = min(faces, key=lambda f: float(np.linalg.norm((f.box[:2] + f.box[2:]) / 2 - middle)))
        landmarks, score = np.asarray(face.landmarks, np.float32), face.score
    matrix = _between_templates(side, settings)
    crop = pixels
    if not (matrix.tolist() == [[1, 0, 0], [0, 1, 0]] and pixels.shape[0] == pixels.shape[1]):
        crop = tools.warp(pixels, matrix, settings.size)
    one = _judged(photo, key, 0, pixels.shape, crop, matrix, landmarks, score, settings)
    return _sorted_results(photo, [one])


def _between_templates(side: int, settings: PrepareSettings) -> np.ndarray:
    """The map [2,3], OpenCV pixels, of a crop of `side` px to one of settings.size px."""
    # continuous 512 px units of the FFHQ frame: f = (c - 256) / zoom + centre, c the crop's place
    scale = settings.zoom / settings.in_zoom * settings.size / side
    matrix = np.zeros((2, 3))
    for axis in (0, 1):
        offset = (settings.in_centre[axis] - settings.centre[axis]) * settings.zoom
        start = (256 - 256 * settings.zoom / settings.in_zoom + offset) * settings.size / 512
        matrix[axis, axis] = scale
        matrix[axis, 2] = start + scale / 2 - 0.5
    return matrix


def _judged(
    photo: str,
    key: str,
    number: int,
    shape: tuple[int, ...],
    crop: np.ndarray,
    matrix: np.ndarray,
    landmarks: np.ndarray,
    score: float,
    settings: PrepareSettings,
) -> Kept | Dropped:
    thumbnail = cv2.resize(crop, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    points = (np.asarray(landmarks) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    valid = _frame_corners(shape, matrix)
    inside = float(valid_mask(valid, settings.size).mean())
    sharp = sharpness(crop)
    covered = 1 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    found = {
        "score": (score, settings.min_score),
        "small": (covered, settings.min_side),
        "border": (inside, settings.min_inside),
        "tilt": (-abs(tilt_of(landmarks)), -settings.max_tilt),
        "turn": (-turn_of(landmarks), -settings.max_turn),
        "blurred": (sharp, settings.min_sharpness),
    }
    for reason, (value, bound) in found.items():
        if value < bound:
            side = "above" if bound < 0 else "below"
            detail = f"{abs(value):.2f} is {side} {abs(bound):.2f}"
            return Dropped(photo, number, reason, detail, thumbnail)
    record = FaceRecord(
        size=settings.size,
        landmarks=points,
        parts=part_boxes(points),
        valid=None if inside == 1.0 else valid,
        source=_source(photo, settings.source),
        zoom=settings.zoom,
        centre=settings.centre,
        photo=photo,
        score=float(score),
        sharpness=sharp,
    )
    return Kept(key, encode_image(crop, settings.encoding, settings.quality), record, thumbnail)


def sharpness(crop: np.ndarray) -> float:
    """Standard deviation, in 0..255, of what a Gaussian blur of 1 px takes from the middle 60 % of
    a crop's luma. Sharp faces of 256 and 512 px have 2.5 to 7, those blurred by 2 px 0.5 to 1.3."""
    gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    taken = gray - cv2.GaussianBlur(gray, (0, 0), 1.0)
    edge = max(crop.shape[0] // 5, 1)
    return float(taken[edge:-edge, edge:-edge].std())


def tilt_of(landmarks: np.ndarray) -> float:
    """Degrees by which a head is turned in the image plane, from eyes to mouth."""
    points = np.asarray(landmarks)
    down = points[3:].mean(0) - points[:2].mean(0)
    return float(np.degrees(np.arctan2(-down[0], down[1])))


def turn_of(landmarks: np.ndarray) -> float:
    """How far the nose lies beside the line from eyes to mouth, over half the eyes' distance."""
    points = np.asarray(landmarks, np.float64)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across = points[1] - points[0]
    half = np.linalg.norm(across) / 2
    down = mouth - eyes
    length = np.linalg.norm(down)
    if half < 1e-6 or length < 1e-6:
        return float("inf")
    nose = points[2] - eyes
    return float(abs(down[0] * nose[1] - down[1] * nose[0]) / length / half)


def _frame_corners(shape: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    """The photo's corners [4,2] in the crop, half a pixel within: the last whole pixels."""
    h, w = shape[:2]
    corners = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], np.float64)
    found: np.ndarray = (corners @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return found


def _source(photo: str, rule: str) -> str:
    if rule == "prefix":
        return source_of(photo.rsplit(".", 1)[0])
    if rule == "folder":
        return photo.rsplit("/", 2)[-2] if "/" in photo else ""
    return rule


def _sorted_results(photo: str, results: list[Any]) -> PhotoResult:
    return PhotoResult(
        photo,
        tuple(r for r in results if isinstance(r, Kept)),
        tuple(r for r in results if isinstance(r, Dropped)),
    )
