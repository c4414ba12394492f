"""Arguments that several commands share: the generator, sizes, seeds, the truncation."""

from __future__ import annotations

import argparse


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model`: the generator, by default the packaged prior."""
    parser.add_argument(
        "--model",
        default="default-prior",
        help="a generator's weights file, or the name of a model (default: the packaged prior)",
    )


def add_truncation(parser: argparse.ArgumentParser, default: float = 0.7) -> None:
    """`--truncation`: psi."""
    parser.add_argument(
        "--truncation",
        type=float,
        default=default,
        help=f"psi: 1 full variety, 0 the mean face (default {default:g})",
    )
