"""Arguments that several commands share: the generator, sizes, seeds, the truncation."""

from __future__ import annotations

import argparse
from pathlib import Path


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


def add_search(parser: argparse.ArgumentParser, steps: int) -> None:
    """Arguments of commands that optimise codes."""
    parser.add_argument("--steps", type=int, default=steps, help=f"of the search (default {steps})")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--half", action="store_true", help="bfloat16: faster on processors that have it"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_features(parser: argparse.ArgumentParser) -> None:
    """`--features`: the network of LPIPS."""
    parser.add_argument(
        "--features",
        type=Path,
        help="SqueezeNet 1.1 weights: features are matched as well as pixels (LPIPS)",
    )


def add_identity(parser: argparse.ArgumentParser) -> None:
    """`--identity`: the network that tells persons apart."""
    parser.add_argument(
        "--identity",
        type=Path,
        help="an identity network's weights (MobileFaceNet, ArcFace); default: the packaged one, "
        "where it is there",
    )
