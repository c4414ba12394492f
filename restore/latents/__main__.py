"""`python -m restore.latents sample|samples`: sheets of faces of nobody, and the sample photos."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from restore.errors import InputError, RestoreError

CAPTION_FROM = 96  # px of a picture from which its seed is written below


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m restore.latents",
        description="Work in the latent spaces of a face generator.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    sample = commands.add_parser("sample", help="draw faces of people who do not exist on a sheet")
    _add_model(sample)
    sample.add_argument("--seed", type=int, default=0, help="of the first face; then counted up")
    sample.add_argument("--count", type=int, default=16)
    sample.add_argument(
        "--truncation", type=float, default=0.7, help="psi: 1 full variety, 0 the mean face"
    )
    sample.add_argument("--size", type=int, default=256, help="px of a face, up to the full size")
    sample.add_argument("--columns", type=int, default=None, help="faces in a row of the sheet")
    sample.add_argument("--folder", type=Path, default=None, help="also write each face as a PNG")
    sample.add_argument("-o", "--output", type=Path, default=Path("sheet.png"))
    photos = commands.add_parser(
        "samples", help="compose the sample photos: generated faces, our own degradations"
    )
    _add_model(photos)
    photos.add_argument("-o", "--output", type=Path, default=Path("samples"), help="a folder")
    return parser.parse_args(argv)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="default-prior",
        help="a generator's weights file, or the name of a model (default: the packaged prior)",
    )


def run_sample(arguments: argparse.Namespace) -> str:
    """Draw the sheet; returns the line to print."""
    from PIL import Image

    from restore.latents.generate import generate_faces, load_generator
    from restore.latents.sheets import grid_sheet

    if arguments.count < 1:
        raise InputError(f"--count {arguments.count}: expected 1 or more")
    generator = load_generator(arguments.model)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
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


def run_samples(arguments: argparse.Namespace) -> str:
    """Compose the sample photos; returns the lines to print."""
    from restore.latents.generate import load_generator
    from restore.latents.sample_photos import write_sample_photos

    written = write_sample_photos(load_generator(arguments.model), arguments.output)
    return "\n".join(f"{path}: {path.stat().st_size / 1000:.0f} kB" for path in written)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors of the user are one line on stderr and exit code 2."""
    arguments = parse_arguments(argv)
    commands = {"sample": run_sample, "samples": run_samples}
    try:
        print(commands[arguments.command](arguments))
    except (RestoreError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
