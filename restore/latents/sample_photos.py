"""The sample photos: scenes of generated faces, spoilt by our own recipes, with EXIF and ICC."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms

from restore.degradation.degrade import degrade
from restore.degradation.recipe import RECIPES, Recipe
from restore.images.files_write import WriteOptions, write_photo
from restore.images.metadata import EXIF_PREFIX, Metadata
from restore.latents.generate import generate_faces
from restore.latents.scenes import (
    Picture,
    framed,
    group,
    lay,
    oval_mask,
    plain_wall,
    print_of,
    resized,
    vignette,
)
from restore.latents.spaces import Generator

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
    """One photo: the seeds of its people, how it is composed, what spoils it, how it is kept.

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
"""What `python -m restore.latents samples` writes; seeds are those of `sample --truncation 0.7`."""


def spoilt(photo: SamplePhoto, portraits: Sequence[Picture]) -> Picture:
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
    exif[0x0131] = "python -m restore.latents samples"
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
    """Paint, compose, spoil and write all photos; returns their paths."""
    written = []
    for photo in photos:
        faces = generate_faces(generator, photo.seeds, photo.truncation)
        portraits = [resized(face.astype(np.float32) / np.float32(255), 512) for face in faces]
        values = pixels_of(photo, spoilt(photo, portraits))
        path = folder / photo.name
        metadata = metadata_of(photo, values.shape[1], values.shape[0])
        options = WriteOptions(quality=photo.quality, subsampling="4:2:0", zlib_level=9)
        write_photo(path, values, metadata, options)
        written.append(path)
    return written
