"""FaceRecord: what is known of an aligned crop, stored under the crop's own key as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from restore.errors import InputError
from restore.geometry.template import ffhq_template

PARTS = ("left_eye", "right_eye", "mouth")
"""Order of the boxes; left is the image's left."""

MIRRORED_LANDMARKS = (1, 0, 2, 4, 3)
MIRRORED_PARTS = (1, 0, 2)

_EYE_HALF = 0.238
"""Half the width of an open eye over the distance of the pupils: 30 mm of 63 mm."""
_DOWN_TO_ACROSS = 126.0 / 131.0
"""Distance of the eyes over that from eyes to mouth, in the template: for turned heads."""


@dataclass(frozen=True, eq=False)
class FaceRecord:
    """Coordinates are OpenCV pixels of the crop as it is stored (`size` px square).

    landmarks: [5,2] float32, in the order of the template. parts: [3,4] float32, x0 y0 x1 y1 of
    the boxes in the order of `PARTS`, eyes not yet enlarged. valid: [4,2] float32, corners of the
    photo's frame, or None where the whole crop lies in the photo. source: for balance. zoom,
    centre: the template that it was aligned on. photo, score: where it came from.
    """

    size: int
    landmarks: np.ndarray
    parts: np.ndarray
    valid: np.ndarray | None = None
    source: str = ""
    zoom: float = 1.0
    centre: tuple[float, float] = (256.0, 256.0)
    photo: str = ""
    score: float = 1.0
    sharpness: float = 0.0

    def to_json(self) -> bytes:
        """UTF-8 JSON with coordinates to a hundredth of a pixel."""
        fields = {
            "size": self.size,
            "landmarks": _rounded(self.landmarks),
            "parts": _rounded(self.parts),
            "valid": None if self.valid is None else _rounded(self.valid),
            "source": self.source,
            "zoom": self.zoom,
            "centre": list(self.centre),
            "photo": self.photo,
            "score": round(float(self.score), 4),
            "sharpness": round(float(self.sharpness), 3),
        }
        return json.dumps(fields, ensure_ascii=False, sort_keys=True).encode()


def read_record(data: bytes) -> FaceRecord:
    """The inverse of `to_json`; raises InputError for what is no record."""
    try:
        fields = json.loads(data)
        valid = fields.get("valid")
        record = FaceRecord(
            size=int(fields["size"]),
            landmarks=np.array(fields["landmarks"], np.float32).reshape(5, 2),
            parts=np.array(fields["parts"], np.float32).reshape(3, 4),
            valid=None if valid is None else np.array(valid, np.float32).reshape(4, 2),
            source=str(fields.get("source", "")),
            zoom=float(fields.get("zoom", 1.0)),
            centre=tuple(float(v) for v in fields.get("centre", (256, 256))),  # type: ignore[arg-type]
            photo=str(fields.get("photo", "")),
            score=float(fields.get("score", 1.0)),
            sharpness=float(fields.get("sharpness", 0.0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"is no face record ({type(error).__name__}: {error}); "
            "prepare the set again with python -m restore.data.prepare"
        ) from error
    return record


def template_landmarks(size: int, zoom: float, centre: tuple[float, float]) -> np.ndarray:
    """The five points [5,2] float32 of a crop that was aligned on the zoomed FFHQ template."""
    return ffhq_template(size, zoom, centre).astype(np.float32)


def part_boxes(landmarks: np.ndarray) -> np.ndarray:
    """Square boxes [3,4] float32 of eyes and mouth from five points [5,2], about as large as those
    that GFPGAN took from 68 points: an eye's width, the mouth's width."""
    points = np.asarray(landmarks, np.float32)
    eyes, mouth = points[:2], points[3:]
    across = float(np.linalg.norm(eyes[1] - eyes[0]))
    down = float(np.linalg.norm(mouth.mean(0) - eyes.mean(0)))
    reach = max(across, _DOWN_TO_ACROSS * down)
    wide = max(float(np.linalg.norm(mouth[1] - mouth[0])), 0.75 * reach)
    centres = np.stack([eyes[0], eyes[1], mouth.mean(0)])
    halves = np.array([_EYE_HALF * reach, _EYE_HALF * reach, wide / 2], np.float32)[:, None]
    return np.concatenate([centres - halves, centres + halves], 1).astype(np.float32)


def mirrored_landmarks(landmarks: np.ndarray, width: int) -> np.ndarray:
    """A new array [5,2] for the mirrored crop."""
    flipped = landmarks[list(MIRRORED_LANDMARKS)].copy()
    flipped[:, 0] = width - 1 - flipped[:, 0]
    return flipped


def mirrored_boxes(boxes: np.ndarray, width: int) -> np.ndarray:
    """A new array [3,4] for the mirrored crop: left and right eye change places."""
    flipped = boxes[list(MIRRORED_PARTS)].copy()
    flipped[:, [0, 2]] = width - 1 - flipped[:, [2, 0]]
    return flipped


def enlarged_eyes(boxes: np.ndarray, ratio: float) -> np.ndarray:
    """A new array [3,4] whose eye boxes are `ratio` times as long about their middles."""
    grown = boxes.copy()
    middle, half = (boxes[:2, :2] + boxes[:2, 2:]) / 2, (boxes[:2, 2:] - boxes[:2, :2]) / 2
    grown[:2] = np.concatenate([middle - half * ratio, middle + half * ratio], 1)
    return grown


def _rounded(values: np.ndarray) -> list[list[float]]:
    return np.round(np.asarray(values, np.float64), 2).tolist()
