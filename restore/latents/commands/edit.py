"""`edit`: a face moved along a direction: age, smile, glasses, yaw, hair, light, or your own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from restore.errors import InputError
from restore.latents.commands.arguments import (
    add_features,
    add_model,
    add_search,
    add_truncation,
)

if TYPE_CHECKING:
    from restore.latents.codes import Codes
    from restore.latents.spaces import Generator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `edit`."""
    add_model(parser)
    parser.add_argument(
        "--direction", nargs="+", required=True, metavar="NAME", help="see `directions list`"
    )
    parser.add_argument(
        "--strength",
        nargs="+",
        type=float,
        default=[2.0],
        help="one each, or one for all",
    )
    parser.add_argument("--file", type=Path, help="a file of directions (default: the packaged)")
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--seed", type=int, help="a face of nobody")
    whom.add_argument("--code", help="codes that `invert` wrote: FILE, or FILE:NUMBER")
    whom.add_argument("-i", "--input", type=Path, help="a photo; its largest face is inverted")
    add_truncation(parser)
    add_search(parser, 100)
    add_features(parser)
    parser.add_argument("--size", type=int, default=512, help="px of the picture")
    parser.add_argument("--pair", action="store_true", help="before and after side by side")
    parser.add_argument("--codes", type=Path, help="also write the moved codes")
    parser.add_argument("-o", "--output", type=Path, default=Path("edited.png"))


def run(arguments: argparse.Namespace) -> str:
    """Edit; returns the line to print."""
    from PIL import Image

    from restore.latents.codes import paint_codes, save_codes
    from restore.latents.directions import load_directions, move_codes
    from restore.latents.generate import load_generator, to_uint8
    from restore.latents.sheets import grid_sheet
    from restore.runtime.memory import keep_freed_memory

    names, strengths = arguments.direction, arguments.strength
    if len(strengths) == 1:
        strengths = strengths * len(names)
    if len(strengths) != len(names):
        raise InputError(
            f"{len(names)} directions and {len(strengths)} strengths; give one strength for each"
        )
    found = load_directions(arguments.file)
    directions = [found.get(name) for name in names]
    generator = load_generator(arguments.model, arguments.device)
    found.check(generator)
    keep_freed_memory()
    before = _codes(arguments, generator)
    after = before
    for direction, strength in zip(directions, strengths, strict=True):
        after = move_codes(generator, after, direction, strength)
    done = ", ".join(f"{n} {s:+g}" for n, s in zip(names, strengths, strict=True))
    picture = to_uint8(paint_codes(generator, after, arguments.size))[0]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    if arguments.pair:
        plain = to_uint8(paint_codes(generator, before, arguments.size))[0]
        grid_sheet([plain, picture], ["as it is", done], 2).save(arguments.output)
    else:
        Image.fromarray(picture).save(arguments.output)
    if arguments.codes is not None:
        save_codes(arguments.codes, after, [done])
    return f"{arguments.output}: {done}"


def _codes(arguments: argparse.Namespace, generator: Generator) -> Codes:
    from restore.latents.commands.face_argument import face_codes, load_features

    if arguments.input is None:
        word = arguments.code if arguments.seed is None else str(arguments.seed)
        return face_codes(word, generator, arguments.truncation)
    from restore.latents.invert import InvertOptions, invert
    from restore.latents.objective import Target
    from restore.latents.photos import framed_face
    from restore.latents.spaces import measure_w
    from restore.latents.variables import mean_start

    size = min(256, generator.out_size)
    face = framed_face(arguments.input, size)
    target = Target(face.image.to(arguments.device), face.mask.to(arguments.device))
    features = load_features(arguments.features, arguments.device)
    options = InvertOptions(arguments.steps, half=arguments.half)
    label = None if arguments.quiet else "inverting"
    start, statistics = mean_start(generator, 1), measure_w(generator)
    return invert(generator, [target], "w_plus", start, statistics, options, features, label).codes
