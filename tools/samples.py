"""`python -m tools samples`: the sample photos, scenes of generated faces degraded by recipes."""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

from restore.commands.tree import exit_code_of
from restore.degradation.degrade import degrade
from restore.degradation.recipe import RECIPES, Recipe
from restore.errors import InputError
from restore.images.metadata import EXIF_PREFIX, Metadata
from restore.images.write import WriteOptions, write_photo
from restore.latents.arguments import say
from restore.latents.generate import generate_faces, load_generator
from restore.latents.spaces import Generator

Picture = NDArray[np.float32]
"""RGB [h,w,3] float32 in 0..1."""


def resized(picture: Picture, width: int, height: int | None = None) -> Picture:
    """A picture at another size in px, without `height` in its own shape; shrinking averages."""
    if height is None:
        height = max(1, round(width * picture.shape[0] / picture.shape[1]))
    size = (width, height)
    shrink = size[0] < picture.shape[1]
    result = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
    return np.clip(result, 0, 1).astype(np.float32)


def group(portraits: Sequence[Picture], height: int, overlap: float = 0.3) -> Picture:
    """People side by side: portraits [s,s,3], each laid over the one before it.

    Neighbours share `overlap` of their width; the border runs where the two pictures differ least
    (the seam of Efros and Freeman's image quilting, 2001) and is feathered.
    """
    if not portraits:
        raise InputError("a group needs one portrait or more, got none")
    shared = round(height * overlap)
    scene = resized(portraits[0], height)
    for portrait in portraits[1:]:
        other = resized(portrait, height)
        left, right = scene[:, -shared:], other[:, :shared]
        weight = _seam_weight(np.square(left - right).sum(2), feather=height / 60)
        blended = left * (1 - weight) + right * weight
        scene = np.concatenate([scene[:, :-shared], blended, other[:, shared:]], axis=1)
    return scene


def _seam_weight(cost: NDArray[np.float32], feather: float) -> Picture:
    """Weight [h,w,1] of the right picture: 0 left of the cheapest path downwards, then 1."""
    height, width = cost.shape
    # Heads stand at the outer sides of the overlap, so a seam near its middle is preferred.
    aside = np.abs(np.linspace(-1, 1, width)) ** 4
    total = cost + 0.5 * aside.astype(np.float32) + 1e-3
    for row in range(1, height):
        before = np.pad(total[row - 1], 1, constant_values=np.inf)
        total[row] += np.minimum(np.minimum(before[:-2], before[1:-1]), before[2:])
    path = np.empty(height, np.int64)
    path[-1] = int(np.argmin(total[-1]))
    for row in range(height - 2, -1, -1):
        low = max(path[row + 1] - 1, 0)
        path[row] = low + int(np.argmin(total[row, low : path[row + 1] + 2]))
    hard = (np.arange(width)[None] >= path[:, None]).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(hard, (0, 0), feather), np.float32)[:, :, None]


def plain_wall(width: int, height: int, color: Sequence[float], seed: int) -> Picture:
    """A wall or card: one colour in 0..1, lit from the upper left, with a little relief."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = 1.06 - 0.22 * (x / width * 0.6 + y / height * 0.4)
    relief = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.5)
    wall = np.asarray(color, np.float32) * (light + 0.03 * relief)[:, :, None]
    found: Picture = np.clip(wall, 0, 1).astype(np.float32)
    return found


def framed(picture: Picture, mat: int, frame: int, color: Sequence[float]) -> Picture:
    """A picture behind a white mat of `mat` px, in a wooden frame of `frame` px."""
    inner = _bordered(picture, mat, (0.94, 0.93, 0.9))
    # the bevel of the mat: a thin shade around the picture
    height, width = picture.shape[:2]
    cv2.rectangle(inner, (mat - 2, mat - 2), (mat + width + 1, mat + height + 1), (0.75,) * 3, 2)
    outer = _bordered(inner, frame, color)
    steps = np.minimum.outer(_to_border(outer.shape[0]), _to_border(outer.shape[1]))
    edge = np.clip(steps / frame, 0, 1)
    rounded = np.where(edge < 1, 0.65 + 0.6 * np.sin(np.pi * edge), 1).astype(np.float32)
    found: Picture = np.clip(outer * rounded[:, :, None], 0, 1).astype(np.float32)
    return found


def _to_border(length: int) -> NDArray[np.float32]:
    steps = np.arange(length, dtype=np.float32)
    return np.minimum(steps, steps[::-1])


def print_of(picture: Picture, border: int, tint: Sequence[float] = (0.96, 0.95, 0.91)) -> Picture:
    """A photographic print: the picture inside a white border of `border` px."""
    return _bordered(picture, border, tint)


def _bordered(picture: Picture, border: int, color: Sequence[float]) -> Picture:
    """A picture inside a border of `border` px in one colour."""
    sides = (border, border, border, border)
    outer = cv2.copyMakeBorder(picture, *sides, cv2.BORDER_CONSTANT, value=tuple(color))
    return np.asarray(outer, np.float32)


def oval_mask(height: int, width: int, feather: float) -> Picture:
    """[h,w,1]: 1 inside the ellipse that nearly fills the rectangle, down to 0 over `feather`."""
    y = (np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1
    x = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
    radius = np.sqrt(y[:, None] ** 2 + x[None] ** 2)
    return np.clip((0.97 - radius) / feather, 0, 1)[:, :, None].astype(np.float32)


def vignette(picture: Picture, card: Picture, feather: float = 0.25) -> Picture:
    """A picture that fades in an oval into the middle of a card of the same size or larger."""
    height, width = picture.shape[:2]
    top, left = (card.shape[0] - height) // 2, (card.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise InputError(f"picture {width} x {height} does not fit a card {card.shape[1::-1]}")
    result = card.copy()
    inside = result[top : top + height, left : left + width]
    mask = oval_mask(height, width, feather)
    result[top : top + height, left : left + width] = inside * (1 - mask) + picture * mask
    return result


def lay(scene: Picture, picture: Picture, centre: tuple[float, float], degrees: float) -> Picture:
    """A scene with a picture laid on it, turned about its centre (px), with a soft shadow."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    turn[:, 2] += np.array(centre) - ((width - 1) / 2, (height - 1) / 2)
    size = (scene.shape[1], scene.shape[0])
    cover = np.pad(np.ones((height - 2, width - 2), np.float32), 1)
    alpha = cv2.warpAffine(cover, turn, size, flags=cv2.INTER_LINEAR)
    laid = cv2.warpAffine(
        picture, turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    depth = max(2.0, width / 60)
    drop = np.array([[1, 0, depth], [0, 1, depth * 1.3]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, drop, size), (0, 0), depth)
    shaded = scene * (1 - 0.45 * shadow[:, :, None])
    mixed = shaded * (1 - alpha[:, :, None]) + laid * alpha[:, :, None]
    return np.clip(mixed, 0, 1).astype(np.float32)


_OFF = replace(RECIPES["none"], reference_size=None)
# a phone or scanner: little blur, sensor noise, a first JPEG
_CAMERA = replace(
    _OFF,
    blur_prob=1.0, blur_sigma=(0.9, 1.1), blur_kernel_size=13, kernel_list=("iso",),
    kernel_prob=(1.0,), noise_prob=1.0, noise_range=(3.0, 5.0), jpeg_prob=1.0,
    jpeg_range=(70.0, 75.0),
)  # fmt: skip
_PHONE = replace(
    _CAMERA,
    blur_sigma=(1.6, 1.8), downsample_prob=1.0, downsample_range=(2.0, 2.2),
    noise_range=(5.0, 7.0), jpeg_range=(45.0, 50.0),
)  # fmt: skip
# an album print of long ago, scanned: the recipe of the training, held at the values wanted here
_PRINT = replace(
    RECIPES["old_photo"],
    kernel_list=("iso",), kernel_prob=(1.0,), blur_prob=1.0, blur_sigma=(1.6, 2.0),
    downsample_prob=1.0, downsample_range=(1.2, 1.4), noise_prob=0.0, jpeg_prob=0.0,
    grain_prob=1.0, grain_range=(6.0, 9.0), fade_prob=1.0, fade_range=(0.2, 0.3), cast_prob=0.0,
    exposure_prob=1.0, exposure_range=(0.2, 0.3), haze_prob=0.0, halftone_prob=0.0, paper_prob=1.0,
    paper_range=(0.012, 0.018), damage_prob=1.0, damage_range=(0.35, 0.45),
    print_gray_prob=0.0, sepia_prob=0.0,
)  # fmt: skip
_GRAY_PRINT = replace(
    _PRINT,
    print_gray_prob=1.0, damage_list=("scratches", "dust", "creases"), damage_part_prob=1.0,
    damage_range=(0.45, 0.55),
)  # fmt: skip
_CARD = replace(_PRINT, damage_list=("dust", "stains"), damage_range=(0.3, 0.35))
_ALBUM = replace(_PRINT, cast_prob=1.0, cast_range=(0.1, 0.15), damage_prob=0.0)


@dataclass(frozen=True)
class SamplePhoto:
    """One photo: the seeds of its people, how it is composed, what degrades it, how it is kept.

    `compose`: portraits RGB float32 [s,s,3] in 0..1 -> scene. `orientation`: EXIF value; the pixels
    are stored turned accordingly. `bits`: 8 or 16. `oval`: an alpha channel with an oval hole.
    """

    name: str
    description: str
    seeds: tuple[int, ...]
    compose: Callable[[Sequence[Picture]], Picture]
    recipe: Recipe
    seed: int
    truncation: float = 0.7
    quality: int = 88
    orientation: int = 1
    gray: bool = False
    bits: int = 8
    oval: bool = False
    camera: Mapping[int, str] = field(default_factory=dict)


def _group(people: Sequence[Picture]) -> Picture:
    return group(people, 460)


def _wall(people: Sequence[Picture]) -> Picture:
    scene = plain_wall(1180, 560, (0.62, 0.68, 0.64), seed=5)
    woods = ((0.32, 0.2, 0.12), (0.12, 0.12, 0.13), (0.55, 0.42, 0.22))
    sizes = ((240, 300), (270, 270), (240, 300))
    for i, person in enumerate(people):
        width, height = sizes[i]
        side = max(width, height)
        picture = resized(person, side)[:, (side - width) // 2 : (side + width) // 2][:height]
        scene = lay(scene, framed(picture, 26, 15, woods[i]), (220 + 370 * i, 285), 0.4 * (i - 1))
    return scene


def _album(people: Sequence[Picture]) -> Picture:
    scene = plain_wall(900, 680, (0.16, 0.15, 0.15), seed=6)
    places = ((235, 200, 4.0), (655, 215, -3.0), (300, 500, -2.5), (690, 505, 3.5))
    for i, person in enumerate(people):
        x, y, degrees = places[i]
        scene = lay(scene, print_of(resized(person, 250), 16), (x, y), degrees)
    return scene


def _portrait(people: Sequence[Picture]) -> Picture:
    picture = resized(people[0], 500)[:, 55:445]
    return print_of(picture, 18)


def _cabinet_card(people: Sequence[Picture]) -> Picture:
    card = plain_wall(400, 520, (0.86, 0.82, 0.74), seed=7)
    toned = resized(people[0], 470)[:, 45:425] @ np.array([[0.299], [0.587], [0.114]], np.float32)
    # albumen prints are brown in the shadows and cream in the light, more than the recipe's toning
    brown, cream = np.array([0.2, 0.11, 0.05], np.float32), np.array([0.98, 0.9, 0.74], np.float32)
    return vignette(brown + toned * (cream - brown), card, feather=0.14)


def _snapshot(people: Sequence[Picture]) -> Picture:
    return resized(group(people, 300, overlap=0.26)[:280], 520)


def _cut_out(people: Sequence[Picture]) -> Picture:
    return resized(people[0], 360)


PHONE = {0x010F: "Nobody", 0x0110: "Phone of nobody"}
SCANNER = {0x010F: "Nobody", 0x0110: "Flatbed scanner of nobody"}

SAMPLE_PHOTOS: tuple[SamplePhoto, ...] = (
    SamplePhoto(
        "group.jpg", "Four friends", (22, 4, 21, 5), _group, _CAMERA, 1, camera=PHONE, quality=90
    ),
    SamplePhoto("wall.jpg", "Framed portraits", (3, 12, 15), _wall, _CAMERA, 2, camera=PHONE),
    SamplePhoto(
        "album.jpg", "A page of an album", (9, 13, 18, 16), _album, _ALBUM, 3, camera=SCANNER
    ),
    SamplePhoto(
        "old_print.png", "A scratched print, scanned in 16 bits", (14,), _portrait, _GRAY_PRINT, 4,
        gray=True, bits=16, camera=SCANNER,
    ),
    SamplePhoto(
        "cabinet_card.jpg", "A toned portrait", (19,), _cabinet_card, _CARD, 5, camera=SCANNER
    ),
    SamplePhoto(
        "snapshot.jpg", "A small snapshot, the phone held upright", (10, 24), _snapshot, _PHONE, 6,
        quality=60, orientation=6, camera=PHONE,
    ),
    SamplePhoto("cut_out.png", "A cut-out portrait", (23,), _cut_out, _CAMERA, 7, oval=True),
)  # fmt: skip
"""What is written; seeds are those of `sample --truncation 0.7`."""


def degraded(photo: SamplePhoto, portraits: Sequence[Picture]) -> Picture:
    """The scene of a sample photo after its recipe: RGB float32 [h,w,3] in 0..1."""
    scene = torch.from_numpy(np.ascontiguousarray(photo.compose(portraits)))
    gt = (scene.permute(2, 0, 1)[None] * 2 - 1).clamp(-1, 1)
    lq = degrade(gt, photo.recipe, seeds=[photo.seed]).lq
    return ((lq[0] + 1) / 2).permute(1, 2, 0).numpy().astype(np.float32)


def pixels_of(photo: SamplePhoto, picture: Picture) -> np.ndarray:
    """What is stored: uint8 or uint16 [h,w], [h,w,3] or [h,w,4], turned by the orientation."""
    if photo.gray:
        picture = picture @ np.array([[0.299], [0.587], [0.114]], np.float32)
    if photo.oval:
        height, width = picture.shape[:2]
        mask = oval_mask(height, width, feather=0.02)
        picture = np.concatenate([picture, mask], axis=2)
    if photo.bits == 16:
        # the recipe ends on the 8-bit grid; a scanner's own noise fills the bits below it
        noise = np.random.default_rng(photo.seed).uniform(-0.5, 0.5, picture.shape) / 255
        values = np.round(np.clip(picture + noise, 0, 1) * 65535).astype(np.uint16)
    else:
        values = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if photo.orientation == 6:  # shown after a quarter turn clockwise, so stored turned back
        values = np.rot90(values, 1)
    return np.ascontiguousarray(values[:, :, 0] if photo.gray else values)


def metadata_of(photo: SamplePhoto, width: int, height: int) -> Metadata:
    """EXIF (what it is, camera, date, orientation, size), resolution and the sRGB profile."""
    exif = Image.Exif()
    exif[0x010E] = f"{photo.description}. Generated faces of people who do not exist."
    exif[0x0112] = photo.orientation
    # the command's name when the committed photos were made, so that they repeat to the byte
    exif[0x0131] = "restore latents samples"
    exif[0x0132] = "2024:05:01 12:00:00"
    for tag, value in photo.camera.items():
        exif[tag] = value
    inner = exif.get_ifd(0x8769)
    inner[0x9003] = "2024:05:01 12:00:00"
    inner[0xA002], inner[0xA003] = width, height
    block = exif.tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # its header carries the time of making (ICC.1, 7.2.8): fixed, so that files repeat to the byte
    srgb = srgb[:24] + struct.pack(">6H", 2024, 5, 1, 12, 0, 0) + srgb[36:]
    return Metadata(
        exif=block if block.startswith(EXIF_PREFIX) else EXIF_PREFIX + block,
        icc=None if photo.gray else srgb,  # a gray file with an RGB profile would be a fault
        dpi=(300.0, 300.0),
    )


def write_sample_photos(
    generator: Generator, folder: Path, photos: Sequence[SamplePhoto] = SAMPLE_PHOTOS
) -> list[Path]:
    """Paint, compose, degrade and write all photos; returns their paths."""
    written = []
    for photo in photos:
        faces = generate_faces(generator, photo.seeds, photo.truncation)
        portraits = [resized(face.astype(np.float32) / np.float32(255), 512) for face in faces]
        values = pixels_of(photo, degraded(photo, portraits))
        path = folder / photo.name
        metadata = metadata_of(photo, values.shape[1], values.shape[0])
        options = WriteOptions(quality=photo.quality, subsampling="4:2:0", zlib_level=9)
        write_photo(path, values, metadata, options)
        written.append(path)
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """Compose the sample photos and say what was written."""
    parser = argparse.ArgumentParser("python -m tools samples", description=__doc__)
    parser.add_argument("--model", default="default-prior", help="a generator's file, or a name")
    parser.add_argument("-o", "--output", type=Path, default=Path("samples"), help="a folder")
    return exit_code_of(lambda: _write_and_tell(parser.parse_args(argv)))


def _write_and_tell(arguments: argparse.Namespace) -> int:
    written = write_sample_photos(load_generator(arguments.model), arguments.output)
    return say(*(f"{path}: {path.stat().st_size / 1000:.0f} kB" for path in written))


if __name__ == "__main__":
    raise SystemExit(main())
