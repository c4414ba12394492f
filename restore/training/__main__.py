"""`python -m restore.training ship FILE -o OUT --training TEXT`: a restorer as a package has it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from restore.errors import RestoreError


def main(argv: Sequence[str] | None = None) -> int:
    """Write the model file; its graph is written by `restore export OUT --check` afterwards."""
    parser = argparse.ArgumentParser(prog="python -m restore.training")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ship", help="float16 model file with its card")
    command.add_argument("source", help="models/net_g_latest.safetensors of a training")
    command.add_argument("-o", "--output", required=True)
    command.add_argument("--training", required=True, help="one line for the card: what it saw")
    arguments = parser.parse_args(argv)
    from restore.training.ship import ship_file

    try:
        header = ship_file(arguments.source, arguments.output, arguments.training)
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(header["card"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
