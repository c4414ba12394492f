"""`strip`: interpolation strips, each row a way from one face to the next."""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

from restore.latents.commands.arguments import add_model, add_truncation
from restore.latents.commands.face_argument import FACE_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `strip`."""
    add_model(parser)
    parser.add_argument("faces", nargs="+", metavar="FACE", help=f"two or more: {FACE_HELP}")
    parser.add_argument(
        "--space",
        choices=("w", "z", "both"),
        default="w",
        help="straight lines in W (W+, S of codes), great circles in Z (seeds only), or both",
    )
    parser.add_argument("--pictures", type=int, default=7, help="in a row, both ends included")
    add_truncation(parser)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("-o", "--output", type=Path, default=Path("strip.png"))


def run(arguments: argparse.Namespace) -> str:
    """Draw the strips; returns the line to print."""
    from restore.errors import InputError
    from restore.latents.codes import Codes, paint_codes
    from restore.latents.commands.face_argument import face_codes
    from restore.latents.generate import load_generator, to_uint8
    from restore.latents.interpolate import lerp, slerp
    from restore.latents.sheets import grid_sheet
    from restore.latents.spaces import z_of_seeds, z_to_w_plus

    faces, count = arguments.faces, arguments.pictures
    if len(faces) < 2 or count < 2:
        raise InputError(f"{len(faces)} faces, {count} pictures a row: expected 2 or more of each")
    generator = load_generator(arguments.model)
    pictures, captions = [], []
    for first, second in pairwise(faces):
        for space in ("z", "w") if arguments.space == "both" else (arguments.space,):
            ends = [face_codes(text, generator, arguments.truncation) for text in (first, second)]
            for k in range(count):
                t = k / (count - 1)
                if space == "z":
                    z = z_of_seeds(generator, seeds_of((first, second)))
                    point = slerp(z[:1], z[1:], t)
                    codes = Codes(z_to_w_plus(generator, point, arguments.truncation))
                else:
                    codes = lerp(ends[0], ends[1], t)
                pictures.append(to_uint8(paint_codes(generator, codes, arguments.size))[0])
                captions.append(f"{first} to {second}, {space.upper()} {t:.2f}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    grid_sheet(pictures, captions, count).save(arguments.output)
    return f"{arguments.output}: {len(pictures) // count} strips of {count} pictures"


def seeds_of(faces: tuple[str, ...] | list[str]) -> list[int]:
    """Faces that must be seeds; InputError where one is not."""
    from restore.errors import InputError

    wrong = [text for text in faces if not text.lstrip("-").isdigit()]
    if wrong:
        raise InputError(f"{wrong[0]!r} has no z: only seeds have; use --space w")
    return [int(text) for text in faces]
