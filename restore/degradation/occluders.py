"""Things before a face, painted: masks, hands, glasses, cloth, objects, and what hides none of it.

The pictures are rough on purpose and varied: colours, patches of other photos, stripes, shades. A
network that learns them must learn what a face looks like where nothing lies before it.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.float32]


COVERS = {"lenses": 0.2, "mask": 0.2, "hand": 0.25, "blob": 0.2, "half": 0.15}
"""What the occlusion network learns, and how often each is drawn."""

OCCLUDERS = {
    "lenses": 0.15, "mask": 0.1, "hand": 0.25, "blob": 0.1, "half": 0.05, "hat": 0.2,
    "microphone": 0.15,
}  # fmt: skip
"""What the restorer learns to leave as it is."""


def paint_occluder(
    face: Image,
    points: NDArray[np.floating],
    others: Image,
    random: np.random.Generator,
    kinds: Mapping[str, float] = COVERS,
) -> tuple[Image, Mask]:
    """A face [s,s,3] RGB with something before it, and what that hides: float32 [s,s] in [0,1].

    points [5,2]: the landmarks (FFHQ order); others [k,s,s,3]: photos that textures are cut from.
    One of four times two things, one of six times something that hides nothing (rims of glasses,
    a shade), so that not every edge is a cover.
    """
    image, mask = face.astype(np.float32), np.zeros(face.shape[:2], np.float32)
    for _ in range(1 + (random.random() < 0.25)):
        shape, stuff = _shape(face, points, random, kinds)
        if random.random() < 1 / 6:
            image = _harmless(image, shape, points, random)
            continue
        fill = _fill(face, stuff, points, others, random)
        edge = cv2.GaussianBlur(shape, (0, 0), float(random.uniform(0.3, 1.2)))
        if random.random() < 0.5:  # the shadow that it throws
            shift = np.array([[1, 0, random.normal(0, 3)], [0, 1, random.uniform(0, 5)]])
            shade = cv2.warpAffine(edge, shift, edge.shape[::-1])
            shade = cv2.GaussianBlur(shade, (0, 0), float(random.uniform(1, 4)))
            image = image * (1 - random.uniform(0.1, 0.5) * shade[..., None])
        image = image * (1 - edge[..., None]) + fill * edge[..., None]
        mask = np.maximum(mask, edge)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def _shape(
    face: Image,
    points: NDArray[np.floating],
    random: np.random.Generator,
    kinds: Mapping[str, float],
) -> tuple[Mask, str]:
    """What the thing hides [s,s], and the kind of stuff it is mostly made of."""
    kind = str(random.choice(list(kinds), p=list(kinds.values())))
    shape = np.zeros(face.shape[:2], np.float32)
    painters = {
        "lenses": _lenses, "mask": _mask, "hand": _hand, "blob": _blob, "half": _half,
        "hat": _hat, "microphone": _microphone,
    }  # fmt: skip
    painters[kind](shape, np.asarray(points, np.float64), random)
    return shape, {"lenses": "dark", "microphone": "dark", "hand": "skin"}.get(kind, "any")


def _lenses(shape: Mask, points: NDArray[np.float64], random: np.random.Generator) -> None:
    left, right = points[0], points[1]
    eyes = float(np.hypot(*(right - left)))
    width, height = eyes * random.uniform(0.28, 0.48), eyes * random.uniform(0.2, 0.42)
    power = random.uniform(2, 6)  # a superellipse: from round to square
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    outline = np.stack(
        [np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)], 1
    )
    down = random.uniform(-0.05, 0.15) * eyes
    tip = random.uniform(-0.25, 0.25)
    for centre, side in ((left, -1.0), (right, 1.0)):
        lens = outline * (width, height)
        lens[:, 1] += tip * side * lens[:, 0]
        _polygon(shape, _moved(centre, side * 0.02 * eyes, down) + lens)
    bridge = [_moved(eye, 0, down - 0.2 * height) for eye in (left, right)]
    _line(shape, bridge[0], bridge[1], max(1, round(eyes * random.uniform(0.03, 0.09))))
    for centre, side in ((left, -1.0), (right, 1.0)):
        ends = _moved(centre, side * width, down), _moved(centre, side * eyes, 0)
        _line(shape, *ends, 2)


def _mask(shape: Mask, points: NDArray[np.float64], random: np.random.Generator) -> None:
    eyes = float(np.hypot(*(points[1] - points[0])))
    middle, mouth = points[:2].mean(0), points[3:].mean(0)
    top = middle[1] + random.uniform(0.2, 0.75) * eyes
    chin = mouth[1] + random.uniform(0.35, 0.9) * eyes
    half = eyes * random.uniform(0.6, 1.15)
    bulge = random.uniform(0.0, 0.25) * eyes
    x = middle[0] + random.normal(0, 0.03) * eyes
    outline = [
        (x - half, top + bulge), (x - half * 0.4, top), (x, top - bulge), (x + half * 0.4, top),
        (x + half, top + bulge), (x + half * 0.9, (top + chin) / 2), (x + half * 0.45, chin),
        (x - half * 0.45, chin), (x - half * 0.9, (top + chin) / 2),
    ]  # fmt: skip
    _polygon(shape, np.array(outline))
    if random.random() < 0.5:
        for side in (-1, 1):
            start = np.array([x + side * half * 0.95, top + bulge])
            _line(shape, start, _moved(start, side * 0.5 * eyes, -0.35 * eyes), 2)


def _hand(shape: Mask, points: NDArray[np.float64], random: np.random.Generator) -> None:
    eyes = float(np.hypot(*(points[1] - points[0])))
    centre = points[random.integers(5)] + random.normal(0, 0.35, 2) * eyes
    angle = random.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    width = eyes * random.uniform(0.13, 0.26)
    fingers = int(random.integers(1, 5))
    for finger in range(fingers):
        start = centre + across * width * 1.05 * (finger - (fingers - 1) / 2)
        bent = along + across * random.normal(0, 0.12)
        tip = start + bent * eyes * random.uniform(0.5, 1.2)
        _line(shape, start - along * eyes * 0.3, tip, max(2, round(width)))
    if fingers > 1 and random.random() < 0.8:  # the palm, and an arm out of the picture
        palm = centre - along * eyes * random.uniform(0.4, 0.7)
        radius = round(width * fingers * random.uniform(0.45, 0.65))
        cv2.circle(shape, _at(palm), max(2, radius), 1.0, -1, cv2.LINE_AA)
        _line(shape, palm, palm - along * 3 * eyes, max(2, round(1.3 * radius)))


def _blob(shape: Mask, points: NDArray[np.float64], random: np.random.Generator) -> None:
    eyes = float(np.hypot(*(points[1] - points[0])))
    centre = points.mean(0) + random.normal(0, 0.55, 2) * eyes
    corners = int(random.integers(3, 12))
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    radius = eyes * random.uniform(0.25, 0.9) * random.uniform(0.6, 1.2, corners)
    stretch = random.uniform(0.5, 1.5)
    outline = np.stack([np.cos(angles) * radius * stretch, np.sin(angles) * radius], 1)
    _polygon(shape, centre + outline)
    if random.random() < 0.5:  # rounded
        sigma = float(eyes * random.uniform(0.05, 0.15))
        shape[:] = np.clip((cv2.GaussianBlur(shape, (0, 0), sigma) - 0.4) * 5, 0, 1)


def _half(shape: Mask, points: NDArray[np.float64], random: np.random.Generator) -> None:
    """A curtain, a door, another head: all beyond a line, straight or bent."""
    size = len(shape)
    eyes = float(np.hypot(*(points[1] - points[0])))
    angle = random.uniform(0, 2 * np.pi)
    normal = np.array([np.cos(angle), np.sin(angle)])
    through = points.mean(0) + normal * eyes * random.uniform(-0.4, 0.7)
    y, x = np.mgrid[:size, :size]
    beyond = (x - through[0]) * normal[0] + (y - through[1]) * normal[1]
    along = (x - through[0]) * -normal[1] + (y - through[1]) * normal[0]
    wave = random.normal(0, 0.12) * eyes * np.sin(along / eyes * random.uniform(1, 5))
    bend = random.normal(0, 0.3) * along**2 / (2 * eyes)
    shape[:] = np.clip(beyond + wave + bend + 0.5, 0, 1)


def _hat(shape: Mask, points: NDArray[np.float64], random: np.random.Generator) -> None:
    """A brim over the brow and a crown above it."""
    eyes = float(np.hypot(*(points[1] - points[0])))
    brow = _moved(points[:2].mean(0), 0, -eyes * random.uniform(0.25, 0.75))
    half = eyes * random.uniform(0.85, 1.3)
    tilt = random.normal(0, 6)
    crown = [(-half, 0), (-half * random.uniform(0.7, 1), -2.2 * eyes)]
    crown += [(half * random.uniform(0.7, 1), -2.2 * eyes), (half, 0)]
    _polygon(shape, brow + np.array(crown))
    brim = (round(half * random.uniform(1.0, 1.7)), max(2, round(eyes * random.uniform(0.05, 0.3))))
    cv2.ellipse(shape, _at(brow), brim, tilt, 0, 360, 1.0, -1, cv2.LINE_AA)


def _microphone(shape: Mask, points: NDArray[np.float64], random: np.random.Generator) -> None:
    """A round head before mouth or chin, its stem going down out of the picture."""
    eyes = float(np.hypot(*(points[1] - points[0])))
    radius = eyes * random.uniform(0.16, 0.35)
    down = radius + eyes * random.uniform(-0.1, 0.35)
    head = _moved(points[3:].mean(0), random.normal(0, 0.3) * eyes, down)
    cv2.circle(shape, _at(head), max(2, round(radius)), 1.0, -1, cv2.LINE_AA)
    end = _moved(head, random.normal(0, 1.2) * eyes, 4 * eyes)
    _line(shape, head, end, max(2, round(radius * random.uniform(0.5, 1.2))))


def _fill(
    face: Image,
    stuff: str,
    points: NDArray[np.floating],
    others: Image,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """What the thing looks like, float32 [s,s,3] in 0..255."""
    size = len(face)
    draw = random.random()
    fill: NDArray[np.floating]
    if stuff == "dark" and draw < 0.75:
        colour = random.uniform(0, 55) + random.normal(0, 8, 3)
        fill = np.ones_like(face, np.float32) * colour
        fill += face * random.uniform(0, 0.15)  # a lens lets a little through
    elif stuff == "skin" and draw < 0.8:
        donor = face if random.random() < 0.7 else others[random.integers(len(others))]
        cheek = _patch(donor, np.asarray(points)[[0, 3]].mean(0), size // 10)
        fill = np.ones_like(face, np.float32) * cheek.reshape(-1, 3).mean(0)
        fill *= random.uniform(0.7, 1.15)
        fill += _rough(size, random) * random.uniform(2, 14)
    elif draw < 0.35:
        fill = np.ones_like(face, np.float32) * random.uniform(0, 255, 3)
        if random.random() < 0.4:  # black, gray, white: commoner than colours
            fill[:] = random.uniform(0, 255) + random.normal(0, 6, 3)
        fill += _rough(size, random) * random.uniform(0, 20)
    elif draw < 0.5:
        fill = _stripes(size, random)
    else:
        fill = _texture(others[random.integers(len(others))], random)
    light = _ramp(size, random) * random.uniform(0, 60)
    return np.asarray(np.clip(fill + light[..., None], 0, 255), np.float32)


def _texture(photo: Image, random: np.random.Generator) -> NDArray[np.float32]:
    """A corner of another photo (hair, clothes, wall), enlarged to the whole square and turned."""
    size = len(photo)
    side = int(size * random.uniform(0.15, 0.3))
    x, y = random.integers(0, 2, 2) * (size - side)
    patch = photo[y : y + side, x : x + side]
    if random.random() < 0.5:
        patch = np.asarray(
            cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    else:  # tiled, by its mirror images
        both = np.concatenate([patch, patch[:, ::-1]], 1)
        tile = np.concatenate([both, both[::-1]])
        patch = np.tile(tile, (1 + size // side, 1 + size // side, 1))[:size, :size]
    return np.asarray(np.rot90(patch, int(random.integers(4))), np.float32)


def _stripes(size: int, random: np.random.Generator) -> NDArray[np.float32]:
    a, b = random.uniform(0, 255, (2, 3))
    angle, period = random.uniform(0, np.pi), random.uniform(3, 30)
    y, x = np.mgrid[:size, :size]
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    share = (0.5 + 0.5 * np.clip(wave * random.uniform(1, 4), -1, 1))[..., None]
    return np.asarray(a * share + b * (1 - share), np.float32)


def _harmless(
    image: NDArray[np.float32],
    shape: Mask,
    points: NDArray[np.floating],
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Rims of clear glasses, or a shadow: edges where the face still shows."""
    if random.random() < 0.5:
        lenses = np.zeros_like(shape)
        _lenses(lenses, np.asarray(points, np.float64), random)
        thick = int(random.integers(1, 4))
        inner = cv2.erode(lenses, np.ones((3, 3), np.uint8), iterations=thick)
        rim = np.clip(lenses - inner, 0, 1)[..., None]
        found: NDArray[np.float32] = image * (1 - rim) + random.uniform(0, 255) * rim
        return found
    shade = cv2.GaussianBlur(shape, (0, 0), float(random.uniform(0.5, 3)))[..., None]
    return np.asarray(image * (1 - shade * random.uniform(-0.3, 0.6)), np.float32)


def _rough(size: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Soft noise [s,s,1], standard deviation 1."""
    cells = int(random.integers(3, 24))
    noise = random.standard_normal((cells, cells)).astype(np.float32)
    large = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.float32)[..., None]


def _ramp(size: int, random: np.random.Generator) -> NDArray[np.float32]:
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    return np.asarray(x * np.cos(angle) + y * np.sin(angle), np.float32)


def _patch(photo: Image, centre: NDArray[np.floating], side: int) -> Image:
    x, y = (int(v) for v in centre)
    return photo[
        max(0, y - side // 2) : y + side // 2 + 1, max(0, x - side // 2) : x + side // 2 + 1
    ]


def _polygon(shape: Mask, outline: NDArray[np.floating]) -> None:
    cv2.fillPoly(shape, [np.round(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)


def _line(
    shape: Mask, start: NDArray[np.floating], end: NDArray[np.floating], thickness: int
) -> None:
    cv2.line(shape, _at(start), _at(end), 1.0, thickness, cv2.LINE_AA)


def _at(point: NDArray[np.floating]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _moved(point: NDArray[np.floating], x: float, y: float) -> NDArray[np.floating]:
    found: NDArray[np.floating] = point + np.array([x, y])
    return found
