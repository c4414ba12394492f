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
}
