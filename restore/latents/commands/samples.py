"""`samples`: the sample photos, composed of generated faces and spoilt by our own recipes."""

from __future__ import annotations

import argparse
from pathlib import Path

from restore.latents.commands.arguments import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `samples`."""
    add_model(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("samples"), help="a folder")


def run(arguments: argparse.Namespace) -> str:
    """Compose the sample photos; returns the lines to print."""
    from restore.latents.generate import load_generator
    from restore.latents.sample_photos import write_sample_photos

    written = write_sample_photos(load_generator(arguments.model), arguments.output)
    return "\n".join(f"{path}: {path.stat().st_size / 1000:.0f} kB" for path in written)
