"""FaceDataset: aligned crops with their landmarks, part boxes and valid mask; no degradation."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from restore.data.record import (
    FaceRecord,
    enlarged_eyes,
    mirrored_boxes,
    mirrored_landmarks,
    part_boxes,
    read_record,
    template_landmarks,
)
from restore.data.stores import Store
from restore.errors import InputError


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
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        names = rows.fieldnames or []
        if "name" not in names or column not in names:
            raise InputError(
                f"{path} has the columns {', '.join(names)}; expected name and {column}"
            )
        return {_without_suffix(row["name"]): row[column] for row in rows}


def read_keys(path: str | Path) -> tuple[str, ...]:
    """Keys from a text file of names, one a line; what follows a space is not read."""
    lines = Path(path).read_text("utf-8").splitlines()
    return tuple(_without_suffix(line.split(" ")[0]) for line in lines if line.strip())


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
