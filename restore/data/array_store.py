"""Crops in one uint8 array: a .npy, or the tensor `crops` of a .safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restore.errors import InputError

TENSOR = "crops"


class ArrayStore:
    """uint8 [n,h,w,3] or [n,3,h,w], read crop by crop from the mapped file.

    Keys: of a .safetensors the JSON list `keys` in its header, of a .npy the lines of a .txt of the
    same name; else the row as eight digits. Records: the header's JSON object `records`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._opened: Any = None
        header = self._header()
        shape, dtype = self._shape()
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or dtype != "uint8":
            raise InputError(
                f"{self.path} holds {dtype} {list(shape)}; expected uint8 [n,h,w,3] or [n,3,h,w]"
            )
        self._planes_first = shape[3] != 3
        keys = header.get("keys") or [f"{i:08d}" for i in range(shape[0])]
        if len(keys) != shape[0] or len(set(keys)) != len(keys):
            raise InputError(
                f"{self.path} has {shape[0]} crops and {len(set(keys))} different keys; "
                "expected one key for each"
            )
        self.keys = tuple(keys)
        self._rows = {key: row for row, key in enumerate(keys)}
        self._records = header.get("records") or {}

    def image(self, key: str) -> np.ndarray:
        row = self._rows[key]
        crop = np.array(self._array()[row : row + 1])[0]
        return np.ascontiguousarray(crop.transpose(1, 2, 0)) if self._planes_first else crop

    def record(self, key: str) -> bytes | None:
        record = self._records.get(key)
        return None if record is None else json.dumps(record).encode()

    def _array(self) -> Any:
        if self._opened is None:
            if self.path.suffix == ".npy":
                self._opened = np.load(self.path, mmap_mode="r", allow_pickle=False)
            else:
                from safetensors import safe_open

                self._opened = safe_open(self.path, "numpy").get_slice(TENSOR)
        return self._opened

    def _shape(self) -> tuple[Sequence[int], str]:
        try:
            array = self._array()
            if self.path.suffix == ".npy":
                return array.shape, str(array.dtype)
            return array.get_shape(), {"U8": "uint8"}.get(array.get_dtype(), array.get_dtype())
        except Exception as error:  # safetensors has an exception class of its own
            raise InputError(
                f"{self.path} cannot be read: {error}; expected uint8 crops, of a .safetensors as "
                f"the tensor {TENSOR!r}"
            ) from error

    def _header(self) -> dict[str, Any]:
        if self.path.suffix == ".npy":
            names = self.path.with_suffix(".txt")
            return {"keys": names.read_text("utf-8").split()} if names.is_file() else {}
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "numpy") as file:
                metadata = file.metadata() or {}
            return {k: json.loads(v) for k, v in metadata.items() if k in ("keys", "records")}
        except (SafetensorError, ValueError, OSError) as error:
            raise InputError(f"{self.path} cannot be read: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


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
    from safetensors.numpy import save_file

    save_file({TENSOR: np.ascontiguousarray(crops)}, path, {"keys": json.dumps(list(keys))})
