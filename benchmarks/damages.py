"""Damages of photos by kind and strength, and faces laid into photos: what quality is judged on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from restore.faces.align import compose, invert, resized, shifted, warp
from restore.geometry import ffhq_template

Photo = np.ndarray
"""uint8 RGB [h,w,3]."""
Random = np.random.Generator


def _bytes(image: np.ndarray) -> Photo:
    rounded: Photo = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return rounded


def jpeg(photo: Photo, quality: float, random: Random) -> Photo:
    """JPEG with halved colours, its grid anywhere."""
    top, left = random.integers(0, 8, 2)
    padded = cv2.copyMakeBorder(photo, top, 0, left, 0, cv2.BORDER_REFLECT)
    data = cv2.imencode(".jpg", padded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[top:, left:, ::-1])


def webp(photo: Photo, quality: float, random: Random) -> Photo:
    """Lossy WebP."""
    del random
    data = cv2.imencode(".webp", photo[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, int(quality)])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


def _scaled(photo: Photo, factor: float, how: int) -> Photo:
    height, width = photo.shape[:2]
    size = max(round(width * factor), 8), max(round(height * factor), 8)
    return np.asarray(cv2.resize(photo, size, interpolation=how))


def jpeg_resized(photo: Photo, quality: float, random: Random) -> Photo:
    """JPEG at another size, brought to this one afterwards."""
    factor = float(np.exp(random.uniform(np.log(0.65), np.log(1.6))))
    other = _scaled(photo, 1 / factor, cv2.INTER_AREA if factor > 1 else cv2.INTER_CUBIC)
    other = jpeg(other, quality, random)
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)[int(random.integers(3))]
    size = photo.shape[1], photo.shape[0]
    return np.asarray(cv2.resize(other, size, interpolation=how if factor > 1 else cv2.INTER_AREA))


def noise(photo: Photo, sigma: float, random: Random) -> Photo:
    """Independent Gaussian noise of each channel."""
    return _bytes(photo + random.normal(0, sigma, photo.shape))


def grain(photo: Photo, sigma: float, random: Random) -> Photo:
    """Noise of brightness of one to two px."""
    field = random.normal(0, 1, photo.shape[:2]).astype(np.float32)
    field = np.asarray(cv2.GaussianBlur(field, (0, 0), float(random.uniform(0.3, 1.0))), np.float32)
    return _bytes(photo + (field * (sigma / field.std()))[..., None])


def chroma_noise(photo: Photo, sigma: float, random: Random) -> Photo:
    """Noise of the colours alone, fine or in blotches."""
    field = random.normal(0, 1, (*photo.shape[:2], 3)).astype(np.float32)
    blotch = float(random.choice([0.0, 0.6, 1.2, 2.0]))
    if blotch:
        field = np.asarray(cv2.GaussianBlur(field, (0, 0), blotch), np.float32)
    field -= (field @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return _bytes(photo + field * (sigma / field.std()))


def blur(photo: Photo, sigma: float, random: Random) -> Photo:
    """Gaussian blur, sigma in px."""
    del random
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma))


def motion(photo: Photo, length: float, random: Random) -> Photo:
    """Blur along a line of so many px."""
    side = int(length) * 2 + 3
    kernel = np.zeros((side, side), np.float32)
    angle = random.uniform(0, np.pi)
    step = np.array([np.cos(angle), np.sin(angle)]) * length / 2 * 16
    middle = (side // 2) * 16
    ends = [tuple(int(v) for v in np.rint(middle + s * step)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(cv2.filter2D(photo, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT))


def enlarged(photo: Photo, factor: float, random: Random) -> Photo:
    """Averaged down and enlarged again."""
    size = photo.shape[1], photo.shape[0]
    small = _scaled(photo, 1 / factor, cv2.INTER_AREA)
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[int(random.integers(3))]
    return np.asarray(cv2.resize(small, size, interpolation=how))


def mosaic(photo: Photo, cell: float, random: Random) -> Photo:
    """Cells of one colour."""
    del random
    size = photo.shape[1], photo.shape[0]
    small = _scaled(photo, 1 / cell, cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_NEAREST))


def few_colours(photo: Photo, count: float, random: Random) -> Photo:
    """The nearest of so many colours, chosen for the photo."""
    flat = photo.reshape(-1, 3).astype(np.float32)
    cv2.setRNGSeed(int(random.integers(1 << 30)))
    some = flat[random.choice(len(flat), min(len(flat), 2000), replace=False)]
    stop = (cv2.TERM_CRITERIA_MAX_ITER, 8, 1.0)
    start = np.zeros((len(some), 1), np.int32)
    centres = cv2.kmeans(some, int(count), start, stop, 1, cv2.KMEANS_PP_CENTERS)[2]
    near = ((flat**2).sum(1)[:, None] - 2 * flat @ centres.T + (centres**2).sum(1)).argmin(1)
    return _bytes(centres[near].reshape(photo.shape))


def few_levels(photo: Photo, levels: float, random: Random) -> Photo:
    """So many levels of each channel."""
    del random
    step = 255 / (levels - 1)
    return _bytes(np.rint(photo / step) * step)


def smear(photo: Photo, strength: float, random: Random) -> Photo:
    """What denoisers leave: edges sharp, skin flat. strength: 1 weak, 3 strong."""
    kind = int(random.integers(4))
    if kind == 0:
        return np.asarray(cv2.medianBlur(photo, 2 * int(strength) + 3))
    if kind == 1:
        return np.asarray(cv2.bilateralFilter(photo, 9, 20.0 * strength + 15, 1.5 + strength))
    if kind == 2:
        found = cv2.fastNlMeansDenoisingColored(photo, None, 4 + 3 * strength, 8, 5, 11)
        return np.asarray(found)
    return np.asarray(
        cv2.edgePreservingFilter(
            photo, flags=1, sigma_s=20.0 * strength, sigma_r=0.2 + strength / 10
        )
    )


def combing(photo: Photo, shift: float, random: Random) -> Photo:
    """Every second line shifted by so many px, as two fields of a moving film are."""
    out = photo.copy()
    start = int(random.integers(2))
    out[start::2] = np.roll(photo, int(shift), axis=1)[start::2]
    return out


def scratches(photo: Photo, count: float, random: Random) -> Photo:
    """Thin bright or dark lines over the middle of the photo."""
    out = photo.copy()
    height, width = photo.shape[:2]
    bright = random.uniform() < 0.7
    for _ in range(int(count)):
        middle = np.array([width, height]) * random.uniform(0.3, 0.7, 2)
        angle = random.uniform(0, np.pi)
        reach = np.array([np.cos(angle), np.sin(angle)]) * random.uniform(0.1, 0.4) * width
        ends = [tuple(int(v) for v in middle + sign * reach) for sign in (-1, 1)]
        value = int(random.integers(215, 256) if bright else random.integers(0, 30))
        thick = 1 if width < 350 or random.uniform() < 0.6 else 2
        cv2.line(out, ends[0], ends[1], (value,) * 3, thick, cv2.LINE_AA)
    return out


def woven(photo: Photo, height: float, random: Random) -> Photo:
    """A regular texture of paper or cloth, so many levels high."""
    period, angle = random.uniform(2.5, 8), random.uniform(0, np.pi / 2)
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]] * (2 * np.pi / period)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wave = np.sin(u) * np.sin(v) * 2 if random.uniform() < 0.4 else np.sin(u) + np.sin(v)
    return _bytes(photo + (height * wave)[..., None])


def dust(photo: Photo, share: float, random: Random) -> Photo:
    """Specks of one to three px on so many in a thousand px."""
    out = photo.copy()
    for _ in range(max(int(share / 1000 * photo.shape[0] * photo.shape[1]), 4)):
        spot = tuple(int(v) for v in random.integers(0, photo.shape[:2][::-1]))
        value = int(random.choice([5, 250]))
        cv2.circle(out, spot, int(random.integers(0, 2)), (value,) * 3, -1)
    return out


@dataclass(frozen=True)
class Damage:
    """One kind: what is done, and the strengths in the table, which a viewer calls damaged."""

    apply: Callable[[Photo, float, Random], Photo]
    strengths: tuple[float, ...]
    finest: float = 0.0
    """px of the photo that the damage has in a crop of 512 px when one stops seeing it."""


DAMAGES: Mapping[str, Damage] = {
    "JPEG": Damage(jpeg, (10, 30, 50, 70)),
    "JPEG, resized": Damage(jpeg_resized, (10, 30, 50, 70)),
    "WebP": Damage(webp, (5, 20)),
    "noise": Damage(noise, (6, 12, 25)),
    "grain": Damage(grain, (6, 12)),
    "chroma noise": Damage(chroma_noise, (8, 16)),
    "blur": Damage(blur, (1, 2, 4)),
    "motion blur": Damage(motion, (4, 8)),
    "enlarged": Damage(enlarged, (2, 3)),
    "mosaic": Damage(mosaic, (3, 4, 6)),
    "flat colours": Damage(few_colours, (12, 24)),
    "levels": Damage(few_levels, (8, 12)),
    "smear": Damage(smear, (1, 2, 3)),
    "combing": Damage(combing, (2, 4)),
    "scratches": Damage(scratches, (5, 10)),
    "woven": Damage(woven, (5, 10)),
    "dust": Damage(dust, (2, 6)),
}
"""Name -> damage; strengths in the unit of its function."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A photo with one face, and the map [2,3] from it to an FFHQ crop of `size` px."""

    photo: Photo
    matrix: np.ndarray
    size: int = 512

    @property
    def template(self) -> np.ndarray:
        """[5,2], the landmarks in the crop."""
        return ffhq_template(self.size)

    @property
    def landmarks(self) -> np.ndarray:
        """[5,2], in the photo."""
        back = invert(self.matrix)
        return np.asarray(self.template @ back[:, :2].T + back[:, 2])


def place(
    face: Photo, zoom: float, side: float, tilt: float, random: Random, size: int = 512
) -> Placed:
    """A face crop (template zoomed about (256, 280) where zoom is not 1) laid into a photo, turned
    by `tilt` degrees, `side` px of the photo wide in the FFHQ frame."""
    n = len(face)
    centre = (256.0, 280.0) if zoom != 1 else (256.0, 256.0)
    step = size / (512 * zoom)
    to_crop = np.array([[step * 512 / n, 0, 0], [0, step * 512 / n, 0]])
    offset = (np.array(centre) + 0.5) * size / 512 - 0.5 - to_crop[:, :2] @ np.full(2, n / 2 - 0.5)
    to_crop[:, 2] = offset
    radians, scale = np.radians(tilt), side / size
    cos, sin = np.cos(radians) * scale, np.sin(radians) * scale
    width = round(side / zoom * 1.15) + 8
    middle = np.array([width / 2, width / 2]) + random.uniform(-2, 2, 2)
    seen = np.array(centre) * size / 512
    turn = np.array([[cos, -sin, 0], [sin, cos, 0]])
    turn[:, 2] = middle - turn[:, :2] @ seen
    # Averaged down first, by one of the usual ways, then turned at about its own scale.
    whole = compose(turn, to_crop)
    factor = float(np.sqrt(abs(np.linalg.det(whole[:, :2]))))
    if factor < 0.85:
        small = max(round(n * factor), 8)
        how = cv2.INTER_AREA
        face = np.asarray(cv2.resize(face, (small, small), interpolation=how))
        whole = compose(whole, invert(resized(small / n, small / n)))
    if tilt == 0 and factor < 0.85:
        shift = np.rint(whole[:, 2])
        whole = shifted(*shift)
        turn = compose(whole, compose(resized(small / n, small / n), invert(to_crop)))
    photo = warp(np.ascontiguousarray(face), whole, width, width, "reflect")
    return Placed(np.ascontiguousarray(photo), invert(turn), size)
