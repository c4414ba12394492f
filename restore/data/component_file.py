"""GFPGAN's component file: boxes of eyes and mouth by number, from a .pth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from restore.data.record import PARTS
from restore.errors import InputError


def read_component_file(
    path: str | Path, keys: Iterable[str], eye_enlarge_ratio: float = 1.4
) -> dict[str, np.ndarray]:
    """Key -> boxes [3,4] float32 in OpenCV pixels at 512 px, eyes enlarged as GFPGAN does.

    The file holds `00000012 -> {left_eye: [x, y, half length], ...}` (GFPGAN
    `get_component_coordinates`): the number is that of the picture's *name*, FFHQ's 00012.png.
    GFPGAN takes the place in its list instead, which any filtered list silently shifts; here keys
    that are not numbers, or that the file does not have, are refused.
    """
    import torch

    try:
        entries = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its readers raise
        raise InputError(f"{path} cannot be read as a component file: {error}") from error
    boxes = {}
    for key in keys:
        name = key.rsplit("/", 1)[-1]
        entry = entries.get(f"{int(name):08d}") if name.isdigit() else None
        if entry is None:
            raise InputError(
                f"{path} has no entry for the crop {key!r}; it fits FFHQ's names (00012.png) "
                "alone. Prepare the set with python -m restore.data.prepare, without component_path"
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
