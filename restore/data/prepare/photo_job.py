"""One photo or crop of the input: its faces found, aligned, judged and encoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from restore.data.decode import encode_image
from restore.data.face_dataset import source_of, valid_mask
from restore.data.prepare.face_tools import FaceTools
from restore.data.prepare.settings import PrepareSettings
from restore.data.record import FaceRecord, part_boxes, template_landmarks
from restore.errors import InputError

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
    return (corners @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


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
