"""`sample`: a sheet of faces of people who do not exist, one for each seed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import InputError
from restore.latents.commands.arguments import add_model, add_truncation

if TYPE_CHECKING:
    from restore.latents.spaces import Generator

CAPTION_FROM = 96  # px of a picture from which its seed is written below


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `sample`."""
    add_model(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the first face; then counted up")
    parser.add_argument("--count", type=int, default=16)
    add_truncation(parser)
    parser.add_argument("--size", type=int, default=256, help="px of a face, up to the full size")
    parser.add_argument("--columns", type=int, default=None, help="faces in a row of the sheet")
    parser.add_argument("--folder", type=Path, default=None, help="also write each face as a PNG")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("sheet.png"),
        help="a picture; or a .npy: the faces themselves, as trainings read crops",
    )


def run(arguments: argparse.Namespace) -> str:
    """Draw the sheet; returns the line to print."""
    from PIL import Image

    from restore.latents.generate import generate_faces, load_generator
    from restore.latents.sheets import grid_sheet

    if arguments.count < 1:
        raise InputError(f"--count {arguments.count}: expected 1 or more")
    generator = load_generator(arguments.model)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    if arguments.output.suffix == ".npy":
        return _pack(arguments, generator, seeds)
    faces = list(generate_faces(generator, seeds, arguments.truncation, arguments.size))
    captions = [f"seed {s}" for s in seeds] if arguments.size >= CAPTION_FROM else None
    sheet = grid_sheet(faces, captions, arguments.columns)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(arguments.output)
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for seed, face in zip(seeds, faces, strict=True):
            Image.fromarray(face).save(arguments.folder / f"seed{seed:05d}.png")
    return (
        f"{arguments.output}: {len(faces)} faces of {arguments.size} px, seeds {seeds[0]} to "
        f"{seeds[-1]}, truncation {arguments.truncation:g}"
    )


def _pack(arguments: argparse.Namespace, generator: Generator, seeds: Sequence[int]) -> str:
    from restore.latents.face_pack import write_face_pack

    if arguments.folder is not None:
        raise InputError("--folder goes with a sheet; a .npy holds the faces already")
    painter = write_face_pack(
        arguments.output, generator, seeds, arguments.truncation, arguments.size
    )
    return f"{arguments.output}: {len(seeds)} faces of {arguments.size} px, painted by {painter}"
