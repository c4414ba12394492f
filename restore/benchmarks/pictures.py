"""One picture of several before/after pairs, as the README shows it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image


def montage(files: Sequence[Path], columns: int, width: int) -> Image.Image:
    """The pictures in rows of `columns`, each `width` pixels wide, in the order given."""
    pictures = []
    for file in files:
        with Image.open(file) as picture:
            height = round(picture.height * width / picture.width)
            pictures.append(
                picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            )
    height = max(picture.height for picture in pictures)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for i, made in enumerate(pictures):
        sheet.paste(made, ((i % columns) * width, (i // columns) * height))
    return sheet


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m restore.benchmarks pictures results/cmp/*.png -o sheet.jpg`."""
    parser = argparse.ArgumentParser(prog="python -m restore.benchmarks pictures")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--width", type=int, default=480, help="px of each pair")
    arguments = parser.parse_args(argv)
    missing = [str(file) for file in arguments.pictures if not file.is_file()]
    if missing:
        print(f"no such picture: {', '.join(missing)}", file=sys.stderr)
        return 2
    sheet = montage(arguments.pictures, arguments.columns, arguments.width)
    sheet.save(arguments.output, quality=88)
    print(f"{arguments.output}: {sheet.width} x {sheet.height}")
    return 0
