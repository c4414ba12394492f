"""Sets of face crops with landmarks and boxes of their parts, and sets of pairs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from restore.data.stores import Store
from restore.errors import CheckpointError, InputError
from restore.geometry import ffhq_template

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
            "prepare the set again with restore prepare"
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
    found: list[list[float]] = np.round(np.asarray(values, np.float64), 2).tolist()
    return found


def read_component_file(
    path: str | Path, keys: Iterable[str], eye_enlarge_ratio: float = 1.4
) -> dict[str, np.ndarray]:
    """Key -> boxes [3,4] float32 in OpenCV pixels at 512 px, eyes enlarged as GFPGAN does.

    The file holds `00000012 -> {left_eye: [x, y, half length], ...}` (GFPGAN
    `get_component_coordinates`): the number is that of the picture's *name*, FFHQ's 00012.png.
    GFPGAN takes the place in its list instead, which any filtered list silently shifts; here keys
    that are not numbers, or that the file does not have, are refused.
    """
    from restore.checkpoints.weights_file import read_torch

    try:
        entries = read_torch(Path(path))
    except CheckpointError as error:
        raise InputError(f"{path} cannot be read as a component file: {error}") from error
    boxes = {}
    for key in keys:
        name = key.rsplit("/", 1)[-1]
        entry = entries.get(f"{int(name):08d}") if name.isdigit() else None
        if entry is None:
            raise InputError(
                f"{path} has no entry for the crop {key!r}; it fits FFHQ's names (00012.png) "
                "alone. Prepare the set with restore prepare, without component_path"
            )
        boxes[key] = _boxes(entry, eye_enlarge_ratio)
    return boxes


def _boxes(entry: dict[str, object], eye_enlarge_ratio: float) -> np.ndarray:
    rows = []
    for part in PARTS:
        x, y, half = (float(v) for v in np.asarray(entry[part], np.float64).reshape(3))
        half *= eye_enlarge_ratio if "eye" in part else 1.0
        rows.append((x - half, y - half, x + half, y + half))
    return np.array(rows, np.float32)


@dataclass(frozen=True)
class Draw:
    """A sample that the sampler wants: which crop, and whether mirrored."""

    index: int
    flip: bool = False


@dataclass(frozen=True, eq=False)
class FaceSample:
    """One crop. gt: uint8 RGB [3,s,s]; mask: uint8 [1,s,s], 1 where the crop shows the photo;
    landmarks [5,2] and parts [3,4] float32 in OpenCV pixels of gt; source: its set's name. lq: the
    bad picture, uint8 RGB [3,s,s], where the set has pairs.
    """

    gt: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray
    parts: np.ndarray
    key: str
    source: str
    index: int
    lq: np.ndarray | None = None


class FaceDataset:
    """Crops of a store by number, in the order of the keys; a map-style dataset for loaders.

    Where the store has no record of a crop, landmarks and boxes are those of the template that it
    was aligned on (`zoom` about `centre`). `crop_size` px is what every crop is brought to, that of
    the first one when None; a smaller crop is refused, since enlarged it would teach blur.
    `boxes`: key -> boxes [3,4] at 512 px, which go before the records (GFPGAN's component file).
    """

    def __init__(
        self,
        store: Store,
        keys: Sequence[str] | None = None,
        crop_size: int | None = None,
        sources: Mapping[str, str] | None = None,
        zoom: float = 1.0,
        centre: tuple[float, float] = (256.0, 256.0),
        eye_enlarge_ratio: float = 1.4,
        boxes: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.store = store
        self.keys = tuple(sorted(store.keys) if keys is None else keys)
        if not self.keys:
            raise InputError("a dataset without a crop; expected one key or more")
        missing = set(self.keys) - set(store.keys)
        if missing:
            raise InputError(
                f"{len(missing)} keys are not in the store, such as {min(missing)!r}; "
                "leave them out of meta_info_file"
            )
        self.crop_size = crop_size or min(store.image(self.keys[0]).shape[:2])
        self.zoom, self.centre = zoom, centre
        self.eye_enlarge_ratio = eye_enlarge_ratio
        self.boxes = boxes
        sources = sources or {}
        self.sources = tuple(sources.get(key) or source_of(key) for key in self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, draw: Draw | int) -> FaceSample:
        """The crop of a Draw, or of a number without mirroring; arrays are the caller's own."""
        if not isinstance(draw, Draw):
            draw = Draw(int(draw))
        key = self.keys[draw.index]
        pixels = self._pixels(key)
        size = pixels.shape[0]
        landmarks, parts, valid = self._coordinates(key, size)
        mask = valid_mask(valid, size)
        if draw.flip:
            pixels, mask = pixels[:, ::-1], mask[:, ::-1]
            landmarks, parts = mirrored_landmarks(landmarks, size), mirrored_boxes(parts, size)
        return FaceSample(
            gt=np.ascontiguousarray(pixels.transpose(2, 0, 1)),
            mask=np.ascontiguousarray(mask[None]),
            landmarks=landmarks,
            parts=parts,
            key=key,
            source=self.sources[draw.index],
            index=draw.index,
        )

    def _pixels(self, key: str) -> np.ndarray:
        pixels = self.store.image(key)
        height, width = pixels.shape[:2]
        if height != width:
            raise InputError(f"crop {key!r} is {width}x{height}; expected a square")
        if height < self.crop_size:
            raise InputError(
                f"crop {key!r} has {height} px, the set wants {self.crop_size}; leave it out, or "
                "train at a smaller size (datasets.train.out_size)"
            )
        if height > self.crop_size:
            side = (self.crop_size, self.crop_size)
            pixels = cv2.resize(pixels, side, interpolation=cv2.INTER_AREA)
        return pixels

    def _coordinates(self, key: str, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Landmarks [5,2], parts [3,4], valid corners [4,2] or None; new arrays, `size` px."""
        record = self._record(key)
        if record is None:
            landmarks = template_landmarks(size, self.zoom, self.centre)
            parts, valid = part_boxes(landmarks), None
        else:
            landmarks, parts = (
                _scaled(v, record.size, size) for v in (record.landmarks, record.parts)
            )
            valid = None if record.valid is None else _scaled(record.valid, record.size, size)
        if self.boxes is not None:
            if key not in self.boxes:
                raise InputError(f"the component file has no boxes of {key!r}; expected all keys")
            return landmarks, _scaled(self.boxes[key], 512, size), valid
        return landmarks, enlarged_eyes(parts, self.eye_enlarge_ratio), valid

    def _record(self, key: str) -> FaceRecord | None:
        data = self.store.record(key)
        if data is None:
            return None
        try:
            return read_record(data)
        except InputError as error:
            raise InputError(f"{key!r} {error}") from error


def source_of(key: str) -> str:
    """The source that a key names: its file name up to the first underscore."""
    return key.rsplit("/", 1)[-1].split("_", 1)[0]


def read_sources(path: str | Path, column: str = "source") -> dict[str, str]:
    """Key -> source from a CSV with the columns `name` and `column`."""
    with io.StringIO(_text_of(path, "source_csv", f"the columns name and {column}")) as file:
        rows = csv.DictReader(file)
        names = rows.fieldnames or []
        if "name" not in names or column not in names:
            raise InputError(
                f"{path} has the columns {', '.join(names)}; expected name and {column}"
            )
        return {_without_suffix(row["name"]): row[column] for row in rows}


def read_keys(path: str | Path) -> tuple[str, ...]:
    """Keys from a text file of names, one a line; what follows a space is not read."""
    lines = _text_of(path, "meta_info_file", "the name of a crop on each line").splitlines()
    return tuple(_without_suffix(line.split(" ")[0]) for line in lines if line.strip())


def _text_of(path: str | Path, key: str, holds: str) -> str:
    """The text of a file that an option names; `InputError` where it cannot be read."""
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InputError(
            f"{key} {path} cannot be read ({reason}); expected a text file with {holds}. Mend the "
            "path in the option file, or leave the key out"
        ) from error


def valid_mask(corners: np.ndarray | None, size: int) -> np.ndarray:
    """uint8 [size,size]: 1 within the quadrilateral [4,2] of OpenCV pixels; all 1 for None."""
    if corners is None:
        return np.ones((size, size), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, np.round(corners * 16).astype(np.int32), 1, shift=4)
    return mask


def _without_suffix(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rsplit(".", 1)[0] if "." in last else last)


def _scaled(values: np.ndarray, size: int, new_size: int) -> np.ndarray:
    return ((values + 0.5) * (new_size / size) - 0.5).astype(np.float32)


class PairedDataset:
    """Pairs by number, in the order of the good pictures' keys.

    filename_tmpl: the bad picture's key, `{}` standing for the good one's. A bad picture of another
    size is brought to that of the good one (BasicSR's validation sets have small ones).
    """

    def __init__(
        self,
        lq_store: Store,
        gt_store: Store,
        keys: Sequence[str] | None = None,
        crop_size: int | None = None,
        filename_tmpl: str = "{}",
        num_images: int | None = None,
    ) -> None:
        wanted = tuple(sorted(gt_store.keys) if keys is None else keys)[:num_images]
        self.gt = FaceDataset(gt_store, wanted, crop_size)
        self.lq_store = lq_store
        self.lq_keys = tuple(filename_tmpl.format(key) for key in wanted)
        missing = sorted(set(self.lq_keys) - set(lq_store.keys))
        if missing:
            raise InputError(
                f"{len(missing)} of {len(wanted)} good pictures have no bad one, such as "
                f"{missing[0]!r}; expected the same names in both places (see filename_tmpl)"
            )
        self.keys, self.sources, self.crop_size = self.gt.keys, self.gt.sources, self.gt.crop_size

    def __len__(self) -> int:
        return len(self.gt)

    def __getitem__(self, draw: Draw | int) -> FaceSample:
        """The sample of the good picture, with `lq`."""
        draw = draw if isinstance(draw, Draw) else Draw(int(draw))
        sample = self.gt[draw]
        pixels = self.lq_store.image(self.lq_keys[draw.index])
        size = self.gt.crop_size
        if pixels.shape[0] != pixels.shape[1]:
            h, w = pixels.shape[:2]
            raise InputError(f"picture {self.lq_keys[draw.index]!r} is {w}x{h}; expected a square")
        if pixels.shape[0] != size:
            shrinks = pixels.shape[0] > size
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, (size, size), interpolation=how)
        if draw.flip:
            pixels = pixels[:, ::-1]
        return replace(sample, lq=np.ascontiguousarray(pixels.transpose(2, 0, 1)))
