"""Non-maximum suppression of boxes, and of faces seen in several looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restore.faces.face import Face


def box_overlaps(box: NDArray[np.floating], boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Per box [n,4] two overlaps with `box` [4], as [2,n]: over the union, over the smaller one."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area, areas = float((box[2:] - box[:2]).prod()), (boxes[:, 2:] - boxes[:, :2]).prod(1)
    union = np.maximum(area + areas - shared, 1e-9)
    return np.stack([shared / union, shared / np.maximum(np.minimum(area, areas), 1e-9)])


def suppress(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], threshold: float
) -> list[int]:
    """Indices of the boxes [n,4] that stay, best first: greedy, by intersection over union."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best = int(order[0])
        kept.append(best)
        overlap = box_overlaps(boxes[best], boxes[order])[0]
        overlap[0] = 1.0
        order = order[overlap < threshold]
    return kept


def merge_looks(faces: Sequence[Face], threshold: float = 0.35, inside: float = 0.65) -> list[Face]:
    """Faces of several looks at one photo without doubles, best score first.

    A face goes when a better one overlaps it by `threshold` of the union, or when one of the two
    lies inside the other by `inside` of its area (an eye or a mouth taken for a face, a face cut
    by a tile's edge).
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: (-f.score, -f.size)):
        if kept:
            union, smaller = box_overlaps(face.box, np.stack([k.box for k in kept]))
            if (union > threshold).any() or (smaller > inside).any():
                continue
        kept.append(face)
    return kept
