"""Regions of a face in the FFHQ frame: eyes, brows, nose, mouth, skin, hair, background."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.geometry import FFHQ_512, similarity
from restore.networks.identity import align_to_network

FRAME = 512  # px of the frame that mesh points are given in

# Points of MediaPipe's mesh ("left" is the image's left): outlines of parts, and the face's oval.
LEFT_EYE = (33, 160, 159, 158, 133, 153, 145, 144)
RIGHT_EYE = (362, 385, 386, 387, 263, 373, 374, 380)
LEFT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
RIGHT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
LIPS = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
NOSE = (168, 114, 129, 98, 2, 327, 358, 343)
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
REGIONS = ("eyes", "brows", "nose", "mouth", "skin", "hair", "background")

# The mean FFHQ face in 512 px, for where no mesh network is given: centre and half axes of
# ellipses. Hair is what lies around the face up to the outer ellipse.
_TEMPLATE_FACE = ((256.0, 290.0), (125.0, 165.0))
_TEMPLATE_HAIR = ((256.0, 255.0), (190.0, 235.0))
_TEMPLATE_PARTS = {
    "eyes": (((193.0, 240.0), (30.0, 17.0)), ((319.0, 240.0), (30.0, 17.0))),
    "brows": (((190.0, 207.0), (42.0, 13.0)), ((322.0, 207.0), (42.0, 13.0))),
    "nose": (((256.0, 297.0), (34.0, 48.0)),),
    "mouth": (((256.0, 373.0), (66.0, 32.0)),),
}


@torch.no_grad()
def mesh_points(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Points [n,468,3] in px of the 512 frame, and presence logits [n], of FFHQ-frame faces.

    `images` [n,3,s,s] RGB in [-1,1]; `network` as `load_landmark_network` gives it. Depth is on
    the same scale, smaller towards the camera.
    """
    points, presence = network(align_to_network(images, network))
    matrix = similarity(np.asarray(network.template), np.asarray(FFHQ_512))
    linear = torch.from_numpy(matrix[:, :2]).to(points)
    placed = points[..., :2] @ linear.T + torch.from_numpy(matrix[:, 2]).to(points)
    depth = points[..., 2:] * float(np.hypot(matrix[0, 0], matrix[1, 0]))
    return torch.cat([placed, depth], -1), presence


def region_masks(size: int, points: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Masks float32 [size,size] in 0..1 of `REGIONS`, which add up to 1 everywhere.

    `points` [468,2+] in px of the 512 frame draw the face's own regions; None takes the mean face.
    Hair is a ring above and beside the face, whatever is painted there.
    """
    face, outer, parts = _drawn(points)
    masks, left = {}, np.ones((FRAME, FRAME), np.float32)
    for name, mask in parts.items():
        masks[name] = mask * left
        left = left * (1 - mask)
    masks["skin"], left = face * left, left * (1 - face)
    masks["hair"], masks["background"] = outer * left, left * (1 - outer)
    return {n: cv2.resize(m, (size, size), interpolation=cv2.INTER_AREA) for n, m in masks.items()}


def _drawn(points: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    if points is None:
        parts = {
            name: np.maximum.reduce([_ellipse(*shape) for shape in shapes])
            for name, shapes in _TEMPLATE_PARTS.items()
        }
        return _ellipse(*_TEMPLATE_FACE), _ellipse(*_TEMPLATE_HAIR), parts
    p = np.asarray(points, np.float64)[:, :2]
    left, right = _grown(_polygon(p[list(LEFT_EYE)]), 9), _grown(_polygon(p[list(RIGHT_EYE)]), 9)
    brows = np.maximum(_polygon(p[list(LEFT_BROW)]), _polygon(p[list(RIGHT_BROW)]))
    parts = {
        "eyes": np.maximum(left, right),
        "brows": _grown(brows, 5),
        "nose": _polygon(p[list(NOSE)]),
        "mouth": _grown(_polygon(p[list(LIPS)]), 7),
    }
    oval = p[list(OVAL)]
    across, up = p[454] - p[234], p[10] - p[152]
    centre = (p[10] + p[152]) / 2 + 0.16 * up
    half = (0.78 * float(np.hypot(*across)), 0.8 * float(np.hypot(*up)))
    return _polygon(oval), _ellipse((float(centre[0]), float(centre[1])), half), parts


def _polygon(corners: np.ndarray) -> np.ndarray:
    mask = np.zeros((FRAME, FRAME), np.float32)
    hull = cv2.convexHull(np.round(corners).astype(np.int32))
    cv2.fillPoly(mask, [hull], 1.0)
    return mask


def _grown(mask: np.ndarray, radius: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask, kernel), np.float32)


def _ellipse(centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    mask = np.zeros((FRAME, FRAME), np.float32)
    middle = (round(centre[0]), round(centre[1]))
    cv2.ellipse(mask, middle, (round(half[0]), round(half[1])), 0, 0, 360, 1.0, -1)
    return mask


def patches(images: Tensor, centres: Tensor, radius: Tensor, count: int = 9) -> Tensor:
    """Square samples [n,m,3,count,count] of images [n,3,s,s] around centres [n,m,2] (512 px).

    `radius` [n]: half the side in 512 px, one for each face. Beyond the border the edge repeats.
    """
    n, m = centres.shape[:2]
    line = torch.linspace(-1, 1, count, device=images.device)
    steps = torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1], -1)  # [c,c,2] as x, y
    places = centres[:, :, None, None] + steps * radius[:, None, None, None, None]
    grid = ((places + 0.5) * 2 / FRAME - 1).to(images).reshape(n, m * count, count, 2)
    found = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return found.reshape(n, 3, m, count, count).transpose(1, 2)
