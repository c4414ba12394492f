"""Small sets of crops for the tests of this folder."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np

from restore.data.face_dataset import FaceRecord, part_boxes, template_landmarks
from restore.data.stores import LmdbWriter, encode_image, write_array

NAMES = ("aaf_1", "aaf_2", "aaf_3", "congress_1", "congress_2", "tpdne_1")


def crop(name: str, size: int = 16) -> np.ndarray:
    rng = np.random.default_rng(NAMES.index(name))
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def record(name: str, size: int = 16, valid: np.ndarray | None = None) -> FaceRecord:
    landmarks = template_landmarks(size, 1.0, (256, 256)) + NAMES.index(name) * 0.25
    return FaceRecord(size, landmarks, part_boxes(landmarks), valid, name.split("_")[0])


def write_store(kind: str, folder: Path, records: bool = True, size: int = 16) -> Path:
    """The six crops as a store of that kind, losslessly."""
    if kind in ("npy", "safetensors"):
        path = folder / f"crops.{kind}"
        write_array(path, np.stack([crop(n, size) for n in NAMES]), NAMES)
        return path
    files = {f"{n}.png": encode_image(crop(n, size)) for n in NAMES}
    if records:
        files |= {f"{n}.json": record(n, size).to_json() for n in NAMES}
    path = folder / {"disk": "crops", "tar": "crops.tar", "lmdb": "crops.lmdb"}[kind]
    if kind == "disk":
        path.mkdir()
        for name, data in files.items():
            (path / name).write_bytes(data)
    elif kind == "tar":
        with tarfile.open(path, "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, BytesIO(data))
    else:
        with LmdbWriter(path) as writer:
            for name in NAMES:
                own = files.get(f"{name}.json")
                writer.put(f"{name}.png", files[f"{name}.png"], (size, size, 3), 1, own)
    return path
