"""`mix`: a grid of faces, coarse styles by column, the styles of some levels by row."""

from __future__ import annotations

import argparse
from pathlib import Path

from restore.latents.commands.arguments import add_model, add_truncation
from restore.latents.commands.face_argument import FACE_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `mix`."""
    add_model(parser)
    parser.add_argument("--faces", nargs="+", required=True, metavar="FACE", help=FACE_HELP)
    parser.add_argument("--styles", nargs="+", required=True, metavar="FACE", help=FACE_HELP)
    parser.add_argument(
        "--levels", type=int, nargs="+", default=[16, 32], help="px of the levels that are taken"
    )
    add_truncation(parser)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("-o", "--output", type=Path, default=Path("mix.png"))


def run(arguments: argparse.Namespace) -> str:
    """Draw the grid; returns the line to print."""
    import numpy as np

    from restore.errors import InputError
    from restore.latents.commands.face_argument import face_codes, face_name
    from restore.latents.generate import load_generator, render, to_uint8
    from restore.latents.sheets import grid_sheet
    from restore.latents.spaces import level_rows, mix

    generator = load_generator(arguments.model)
    known = level_rows(generator)
    strange = [level for level in arguments.levels if level not in known]
    if strange:
        raise InputError(f"levels {strange}: this generator has {list(known)} px")
    rows = [row for level in arguments.levels for row in known[level]]
    psi, size = arguments.truncation, arguments.size
    faces = [face_codes(text, generator, psi).w_plus for text in arguments.faces]
    styles = [face_codes(text, generator, psi).w_plus for text in arguments.styles]
    pictures = [np.full((size, size, 3), 250, np.uint8)]
    pictures += [to_uint8(render(generator, face, size))[0] for face in faces]
    captions = ["", *map(face_name, arguments.faces)]
    for text, style in zip(arguments.styles, styles, strict=True):
        pictures.append(to_uint8(render(generator, style, size))[0])
        captions.append(face_name(text))
        for face in faces:
            pictures.append(to_uint8(render(generator, mix(face, style, rows), size))[0])
            captions.append("")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    grid_sheet(pictures, captions, len(faces) + 1).save(arguments.output)
    levels = ", ".join(map(str, arguments.levels))
    return f"{arguments.output}: {len(faces)} faces with the levels {levels} px of {len(styles)}"
