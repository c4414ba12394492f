"""`python -m restore.degrade`: draws a contact sheet of a recipe with the parameters below."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from restore.errors import RestoreError


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the arguments, writes the sheet; 0, or 2 after an error of the user's."""
    parser = argparse.ArgumentParser(prog="python -m restore.degrade", description=__doc__)
    parser.add_argument("-i", "--input", required=True, type=Path, help="a face, or a folder")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the sheet, a png or jpg")
    parser.add_argument(
        "--recipe", default=["gfpgan"], nargs="+", help="names of recipes or mixtures"
    )
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--size", default=512, type=int, help="px that the faces are degraded at")
    parser.add_argument("--draws", default=4, type=int, help="pictures made of each face")
    parser.add_argument("--faces", default=4, type=int, help="how many faces of a folder")
    parser.add_argument("--cell", default=256, type=int, help="px of a picture on the sheet")
    parser.add_argument("--no-gt", action="store_true", help="leave out the column of good faces")
    args = parser.parse_args(argv)
    from restore.degrade.sheet import draw_sheet, find_faces, read_faces

    try:
        faces = read_faces(find_faces(args.input, args.faces), args.size)
        sheet = draw_sheet(
            faces, args.recipe, args.seed, args.draws, args.cell, with_gt=not args.no_gt
        )
        args.output.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(args.output, quality=75)  # a png takes no notice
    except (RestoreError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.output}: {len(faces)} faces, {args.draws} draws of {', '.join(args.recipe)} each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
