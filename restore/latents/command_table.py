"""The commands of `python -m restore.latents`: name -> where it lives and what it is for.

Each module has `add_arguments(parser)` and `run(arguments) -> str` (the lines to print). It is
imported when its command is called, so that a command costs no other's imports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`module`: full name of the module of a command; `summary`: one line of the overview."""

    module: str
    summary: str


COMMANDS: Mapping[str, Command] = {
    "sample": Command(
        "restore.latents.commands.sample", "draw faces of people who do not exist on a sheet"
    ),
    "samples": Command(
        "restore.latents.commands.samples",
        "compose the sample photos: generated faces, our own degradations",
    ),
    "spaces": Command(
        "restore.latents.commands.spaces", "the styles of a generator, and where its codes lie"
    ),
    "mix": Command(
        "restore.latents.commands.mix", "style mixing: coarse styles of some, fine ones of others"
    ),
    "strip": Command(
        "restore.latents.commands.strip", "interpolation strips: from face to face, in Z or W"
    ),
    "film": Command("restore.latents.commands.film", "a short film from face to face, MP4 or PNGs"),
    "invert": Command(
        "restore.latents.commands.invert", "the code of a photo's face, in W, W+ or S; local edits"
    ),
    "cross": Command("restore.latents.commands.cross", "one face of two, along a mask"),
    "children": Command(
        "restore.latents.commands.children", "children of two faces: genes of face regions"
    ),
    "imagine": Command(
        "restore.latents.commands.imagine",
        "faces that a very bad photo could be of: several, labelled as imagined",
    ),
    "edit": Command(
        "restore.latents.commands.edit", "move a face along a named direction: age, smile, ..."
    ),
    "directions": Command(
        "restore.latents.commands.directions", "list, find, compute and draw directions of edits"
    ),
    "stylise": Command(
        "restore.latents.commands.stylise", "fine-tune a copy of the prior to a style, swap layers"
    ),
}
