"""Small sets of crops for the tests of this folder."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from restore.data.face_dataset import FaceRecord, part_boxes, template_landmarks
from restore.data.stores import TENSOR, LmdbWriter, encode_image
from restore.errors import InputError

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


def write_array(path: str | Path, crops: np.ndarray, keys: Sequence[str]) -> None:
    """Write uint8 [n,h,w,3] or [n,3,h,w] as .safetensors, or as .npy with a .txt of keys."""
    path = Path(path)
    if crops.dtype != np.uint8 or crops.ndim != 4 or len(keys) != len(crops):
        raise InputError(
            f"{crops.dtype} {list(crops.shape)} with {len(keys)} keys; expected uint8, four "
            "dimensions and a key for each crop"
        )
    if path.suffix == ".npy":
        np.save(path, crops)
        path.with_suffix(".txt").write_text("\n".join(keys) + "\n", "utf-8")
        return
    import torch

    from restore.checkpoints.weights_file import write_tensors

    write_tensors(path, {TENSOR: torch.from_numpy(crops)}, {"keys": json.dumps(list(keys))})
