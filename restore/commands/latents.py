"""`restore latents COMMAND`: work in a generator's latent spaces; see docs/latents.md."""

from __future__ import annotations

import argparse

from restore.errors import InputError
from restore.latents.arguments import add_latent_commands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A parser for each command."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_latent_commands(commands)


def run(arguments: argparse.Namespace) -> int:
    """Run the command that was named."""
    try:
        return int(arguments.run(arguments))
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error
