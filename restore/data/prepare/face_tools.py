"""What preparation borrows from faces and images: detection, alignment, reading of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Crop = tuple[np.ndarray, np.ndarray]
"""Pixels uint8 RGB [s,s,3] and the map photo -> crop [2,3], OpenCV pixels."""


@dataclass(frozen=True)
class FaceTools:
    """decode: file bytes -> upright RGB uint8 [h,w,3]. detect: that -> faces with landmarks [5,2],
    box [4] and score. align: photo, landmarks, template [5,2], size -> Crop. warp: photo, map
    [2,3], size -> pixels. template: size, zoom, centre -> [5,2].
    """

    decode: Callable[[bytes], np.ndarray]
    detect: Callable[[np.ndarray], list[Any]]
    align: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Crop]
    warp: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    template: Callable[[int, float, tuple[float, float]], np.ndarray]


def load_face_tools(detector: str | None, threads: int = 1) -> FaceTools:
    """The library's own tools; `detector` is a name of `load_detector`, None finds nothing.

    Preparation is a program above the rest of `data`, which knows nothing of faces.
    """
    from restore.faces.align import align_face
    from restore.faces.warp import warp
    from restore.geometry.template import ffhq_template
    from restore.images import depth, files

    find: Callable[[np.ndarray], list[Any]] = lambda photo: []  # noqa: E731
    if detector is not None:
        from restore.faces.detect import load_detector

        find = load_detector(detector, threads=threads).detect

    def decode(data: bytes) -> np.ndarray:
        pixels: np.ndarray = depth.to_rgb(depth.to_uint8(files.decode_photo(data).pixels))
        return np.ascontiguousarray(pixels)

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
