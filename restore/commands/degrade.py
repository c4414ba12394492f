"""`restore degrade`: a contact sheet of what a recipe does to faces, with the truth below each."""

from __future__ import annotations

import argparse
from pathlib import Path

from restore.commands.tree import GOOD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `restore degrade`."""
    add = parser.add_argument
    add("-i", "--input", required=True, type=Path, help="a face, or a folder")
    add("-o", "--output", required=True, type=Path, help="the sheet, a png or jpg")
    add("--recipe", default=["gfpgan"], nargs="+", help="names of recipes or mixtures")
    add("--seed", default=0, type=int)
    add("--size", default=512, type=int, help="px that the faces are degraded at")
    add("--draws", default=4, type=int, help="pictures made of each face")
    add("--faces", default=4, type=int, help="how many faces of a folder")
    add("--cell", default=256, type=int, help="px of a picture on the sheet")
    add("--no-gt", action="store_true", help="leave out the column of good faces")


def run(arguments: argparse.Namespace) -> int:
    """Draw the sheet and write it."""
    from restore.data.recipe_sheet import draw_sheet, find_faces, read_faces

    faces = read_faces(find_faces(arguments.input, arguments.faces), arguments.size)
    sheet = draw_sheet(
        faces,
        arguments.recipe,
        arguments.seed,
        arguments.draws,
        arguments.cell,
        with_gt=not arguments.no_gt,
    )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(arguments.output, quality=75)  # a png takes no notice
    recipes = ", ".join(arguments.recipe)
    print(f"{arguments.output}: {len(faces)} faces, {arguments.draws} draws of {recipes} each")
    return GOOD
