"""`film`: a short film that goes from face to face; an .mp4, or a folder of PNGs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from restore.latents.commands.arguments import add_model, add_truncation
from restore.latents.commands.face_argument import FACE_HELP

if TYPE_CHECKING:
    import numpy as np

    from restore.latents.codes import Codes
    from restore.latents.spaces import Generator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `film`."""
    add_model(parser)
    parser.add_argument("faces", nargs="+", metavar="FACE", help=f"two or more: {FACE_HELP}")
    parser.add_argument("--space", choices=("w", "z"), default="w")
    parser.add_argument("--frames", type=int, default=24, help="from one face to the next")
    parser.add_argument("--rate", type=int, default=24, help="frames a second")
    parser.add_argument("--once", action="store_true", help="end at the last face: no loop")
    add_truncation(parser)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("film.mp4"), help="FILE.mp4, or a folder for PNGs"
    )


def run(arguments: argparse.Namespace) -> str:
    """Write the film; returns the line to print."""
    from tqdm import tqdm

    from restore.latents.commands.face_argument import face_codes
    from restore.latents.commands.strip import seeds_of
    from restore.latents.film import write_film, write_frames
    from restore.latents.generate import load_generator
    from restore.latents.interpolate import steps, walk_codes, walk_z

    faces, loop = arguments.faces, not arguments.once
    total = len(list(steps(len(faces), arguments.frames, loop)))
    generator = load_generator(arguments.model)
    way: Iterable[Codes]
    if arguments.space == "z":
        way = walk_z(generator, seeds_of(faces), arguments.frames, arguments.truncation, loop)
    else:
        ends = [face_codes(text, generator, arguments.truncation) for text in faces]
        way = walk_codes(ends, arguments.frames, loop)
    bar = tqdm(way, desc="film", total=total, unit="frame", disable=arguments.quiet)
    frames = _painted(generator, bar, arguments.size)
    output = arguments.output
    if output.suffix.lower() == ".mp4":
        count = write_film(frames, output, arguments.rate)
        return f"{output}: {count} frames of {arguments.size} px, {count / arguments.rate:.1f} s"
    count = write_frames(frames, output)
    return f"{output}: {count} frames of {arguments.size} px"


def _painted(generator: Generator, way: Iterable[Codes], size: int) -> Iterator[np.ndarray]:
    from restore.latents.codes import paint_codes
    from restore.latents.generate import to_uint8

    for codes in way:
        yield to_uint8(paint_codes(generator, codes, size))[0]
