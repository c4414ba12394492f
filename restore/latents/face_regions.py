"""Regions of a face (eyes, nose, hair ...), and how locally channels of S act on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from restore.errors import InputError
from restore.geometry import FFHQ_512, similarity
from restore.latents.codes import free_styles, paint
from restore.latents.spaces import Generator, style_layers
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
    hull = cv2.convexHull(np.round(corners).astype(np.int32))
    return np.asarray(cv2.fillPoly(np.zeros((FRAME, FRAME), np.float32), [hull], 1.0))


def _grown(mask: np.ndarray, radius: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask, kernel), np.float32)


def _ellipse(centre: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
    middle, axes = ((round(x), round(y)) for x, y in (centre, half))
    mask = np.zeros((FRAME, FRAME), np.float32)
    return np.asarray(cv2.ellipse(mask, middle, axes, 0, 0, 360, 1.0, -1))


@dataclass(frozen=True)
class StyleChannel:
    """One number of S. `share`: how much of its effect lies in `region`, 0..1.

    `effect`: root of the summed squared change of the image's pixels ([-1,1]) for one standard
    deviation of the channel, mean over faces. `std`: that deviation.
    """

    layer: int
    channel: int
    name: str
    region: str
    share: float
    effect: float
    std: float


def region_energies(
    generator: Generator,
    w: Tensor,
    size: int,
    mesh: nn.Module | None = None,
    probes: int = 4,
    seed: int = 0,
    show_progress: bool = False,
) -> Tensor:
    """Squared change of the pixels in each region for a unit of each channel: [r, sum c].

    Mean over the faces of codes w [n,w_dim] painted at `size`. For random signs v on the pixels of
    a region, E[(d<v,image>/ds)²] is the sum of (dpixel/ds)² over it (Hutchinson), so a few
    backward passes serve all channels at once: StyleSpace's (Wu et al. 2021) gradient maps without
    a pass for each channel. Rows are `REGIONS`; `mesh` finds them on each face, None takes the
    mean face's.
    """
    if len(w) == 0:
        raise InputError("no codes to look at; give one or more")
    draws = torch.Generator().manual_seed(seed)
    total = w.new_zeros(len(REGIONS), sum(generator.style_sizes))
    for code in tqdm(w, desc="faces", disable=not show_progress):
        styles = free_styles(generator, code)
        image = paint(generator, styles, size)
        points = None
        if mesh is not None:
            found, presence = mesh_points(mesh, image.detach())
            points = found[0].numpy() if float(presence) > 0 else None
        masks = region_masks(size, points)
        energies = torch.zeros_like(total)
        for i, region in enumerate(REGIONS):
            weight = torch.from_numpy(np.sqrt(masks[region]))
            for _ in range(probes):
                signs = torch.randint(0, 2, image.shape, generator=draws).to(image) * 2 - 1
                slopes = torch.autograd.grad(
                    (image * signs * weight).sum(), styles, retain_graph=True
                )
                energies[i] += torch.cat([g[0] for g in slopes]).square() / probes
        total += energies
    return total / len(w)


def rank_channels(
    generator: Generator, energies: Tensor, deviations: Sequence[Tensor], least_effect: float = 0.25
) -> dict[str, list[StyleChannel]]:
    """The channels of each region, the most local ones first.

    A channel belongs to the region that holds the largest part of its energy. Channels whose
    effect is under `least_effect` times the median of all do nothing to be seen and are left out.
    """
    std = torch.cat(list(deviations))
    if energies.shape != (len(REGIONS), len(std)):
        raise InputError(f"energies are {list(energies.shape)}; expected regions x channels")
    total = energies.sum(0)
    effect = total.sqrt() * std
    share, best = (energies / total.clamp_min(1e-20)).max(0)
    seen = effect >= least_effect * effect.median()
    ranked: dict[str, list[StyleChannel]] = {region: [] for region in REGIONS}
    places = [
        (i, c, f"{layer.name}[{c}]")
        for i, layer in enumerate(style_layers(generator))
        for c in range(layer.channels)
    ]
    for index in share.argsort(descending=True).tolist():
        if bool(seen[index]):
            region = REGIONS[int(best[index])]
            layer, channel, name = places[index]
            local, visible, deviation = (float(x[index]) for x in (share, effect, std))
            found = StyleChannel(layer, channel, name, region, local, visible, deviation)
            ranked[region].append(found)
    return ranked


def move_channels(styles: Sequence[Tensor], steps: Mapping[tuple[int, int], float]) -> list[Tensor]:
    """S with numbers added: `steps` maps (layer, channel) to what is added to [n,c]."""
    moved = [style.clone() for style in styles]
    for (layer, channel), step in steps.items():
        if not (0 <= layer < len(moved) and 0 <= channel < moved[layer].shape[1]):
            raise InputError(f"S has no layer {layer} with a channel {channel}")
        moved[layer][:, channel] += step
    return moved
