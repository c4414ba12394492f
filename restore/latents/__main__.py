"""`python -m restore.latents COMMAND`: work in the latent spaces of a face generator."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from restore.errors import RestoreError
from restore.latents.command_table import COMMANDS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors of the user are one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in COMMANDS:
        return _overview(words)
    name = words[0]
    command = COMMANDS[name]
    module = import_module(command.module)
    parser = argparse.ArgumentParser(
        prog=f"python -m restore.latents {name}", description=module.__doc__
    )
    module.add_arguments(parser)
    arguments = parser.parse_args(words[1:])
    try:
        print(module.run(arguments))
    except (RestoreError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _overview(words: Sequence[str]) -> int:
    """Print what there is; 0 where it was asked for, else 2."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}s}  {c.summary}" for name, c in COMMANDS.items())
    usage = "usage: python -m restore.latents COMMAND [...]; COMMAND --help tells its arguments"
    if words and words[0] in ("-h", "--help"):
        print(f"{usage}\n{lines}")
        return 0
    if words:
        print(f"error: unknown command {words[0]!r}", file=sys.stderr)
    print(f"{usage}\n{lines}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
