"""`imagine`: several faces that a very bad photo could be of, each labelled as imagined."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from restore.latents.commands.arguments import add_identity, add_model, add_search, add_truncation

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `imagine`."""
    parser.add_argument("photo", type=Path, help="a photo whose face is too bad for the restorer")
    add_model(parser)
    parser.add_argument("--count", type=int, default=4, help="faces; each search is by itself")
    parser.add_argument("--seed", type=int, default=0, help="of the first start; then counted up")
    parser.add_argument(
        "--aligned",
        action="store_true",
        help="the photo is a square crop in the FFHQ frame: no detector (tiny faces are not found)",
    )
    parser.add_argument("--small", type=int, help="px of the frame at which pictures are compared")
    parser.add_argument("--blur", type=float, default=0.5, help="px of the photo, its own blur")
    parser.add_argument("--jpeg", type=int, help="quality of an aligned crop that was a JPEG")
    parser.add_argument("--gray", action="store_true", help="the photo is gray")
    add_truncation(parser)
    add_search(parser, 120)
    add_identity(parser)
    parser.add_argument("--size", type=int, default=512, help="px of the faces written")
    parser.add_argument("-o", "--output", type=Path, default=Path("imagined"), help="a folder")


def run(arguments: argparse.Namespace) -> str:
    """Search; returns the lines to print."""
    import numpy as np

    from restore.errors import InputError
    from restore.images.files_write import write_photo
    from restore.latents.codes import paint_codes, save_codes
    from restore.latents.commands.face_argument import identity_rows, load_identity_or_none, squared
    from restore.latents.generate import load_generator, to_uint8
    from restore.latents.imagine import (
        LABEL,
        default_options,
        imagine,
        imagined_metadata,
        labelled,
        most_unlike,
    )
    from restore.latents.paint import check_size
    from restore.latents.sheets import grid_sheet
    from restore.latents.soft_degradation import SoftDegradation
    from restore.latents.spaces import measure_w
    from restore.runtime.memory import keep_freed_memory

    if arguments.count < 2:
        raise InputError(
            f"--count {arguments.count}: expected 2 or more: one face alone would pass for the "
            "person"
        )
    keep_freed_memory()
    generator = load_generator(arguments.model, arguments.device)
    size = check_size(generator, arguments.size)
    network = load_identity_or_none(arguments)
    small, mask = _small(arguments)
    small, mask = small.to(arguments.device), mask.to(arguments.device)
    degradation = SoftDegradation(small.shape[-1], arguments.blur, arguments.jpeg, arguments.gray)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    statistics = measure_w(generator)
    options = default_options(arguments.steps, arguments.half)
    faces = list(imagine(
        generator, small, mask, degradation, seeds, statistics, options, arguments.truncation,
        not arguments.quiet,
    ))  # fmt: skip
    faces.sort(key=lambda face: -face.match)
    seen = squared(small, size)
    pictures, captions = [to_uint8(seen)[0]], ["the photo"]
    under: list[np.ndarray] = [to_uint8(seen)[0]]
    lines, plain = [], []
    for number, face in enumerate(faces, 1):
        image = paint_codes(generator, face.codes, size)
        plain.append(to_uint8(image)[0])
        picture = labelled(plain[-1])
        path = arguments.output / f"{arguments.photo.stem}_imagined_{number}.png"
        write_photo(path, picture, imagined_metadata())
        save_codes(path.with_suffix(".safetensors"), face.codes, [path.stem])
        pictures.append(picture)
        captions.append(f"imagined {number}")
        under.append(to_uint8(squared(degradation(image), size))[0])
        lines.append(
            f"{path}: match {face.match:.1f} dB, {face.distance:.2f} deviations from the mean code"
        )
    rows = [*captions, "the photo", *(f"{c}, degraded" for c in captions[1:])]
    sheet = arguments.output / f"{arguments.photo.stem}_imagined_sheet.png"
    drawn = grid_sheet([*pictures, *under], rows, len(pictures))
    write_photo(sheet, labelled(np.asarray(drawn)), imagined_metadata())
    if network is not None:
        mean, least = most_unlike(identity_rows(network, plain))
        lines.append(
            f"identity cosine among them: mean {mean:.2f}, least {least:.2f} ({network.name}): "
            "what they do not share the photo does not tell"
        )
    return "\n".join([f"{sheet}: {LABEL}", *lines])


def _small(arguments: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """The face of the photo in the FFHQ frame at about its own pixels, and where it is valid."""
    import numpy as np
    import torch

    from restore.errors import InputError
    from restore.images.depth import to_rgb, to_uint8
    from restore.images.files import read_photo
    from restore.latents.photos import framed_face

    if arguments.aligned:
        pixels = to_uint8(to_rgb(read_photo(arguments.photo).pixels))
        if pixels.shape[0] != pixels.shape[1]:
            raise InputError(
                f"{arguments.photo} is {pixels.shape[1]} x {pixels.shape[0]} px; an aligned crop "
                "is square"
            )
        image = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        side = arguments.small or min(len(pixels), 128)
        if side != len(pixels):
            from restore.latents.commands.face_argument import squared

            image = squared(image, side)
        return image.contiguous(), torch.ones(1, 1, side, side)
    first = framed_face(arguments.photo, 256)
    # a frame in which a pixel is about a pixel of the photo: the eyes are 126 of 512 px apart
    own = round(first.eye_distance * 512 / 126)
    side = arguments.small or int(np.clip(own, 8, 128))
    face = framed_face(arguments.photo, side)
    return face.image, face.mask
