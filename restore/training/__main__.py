"""`python -m restore.training COMMAND`: what is trained or made ready beside `restore.train`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from restore.errors import RestoreError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; graphs are written by `restore export OUT --check` afterwards."""
    arguments = _parser().parse_args(argv)
    try:
        print(_run(arguments))
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(arguments: argparse.Namespace) -> str:
    if arguments.command == "ship":
        from restore.training.ship import ship_file

        card: str = ship_file(arguments.source, arguments.output, arguments.training)["card"]
        return card
    if arguments.command == "ship-identity":
        from restore.training.identity_ship import ship_identity

        card = ship_identity(arguments.source, arguments.output, arguments.data)["card"]
        return card
    if arguments.command == "prior-heads":
        return _prior_heads(arguments)
    if arguments.command == "cover":
        return _cover(arguments)
    from restore.training.identity_distil import distil

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    return str(distil(arguments.opt, arguments.auto_resume))


def _prior_heads(arguments: argparse.Namespace) -> str:
    from restore.training.prior_heads_ship import make_prior_heads
    from restore.training.size_heads import SizeHeadOptions

    options = SizeHeadOptions(images=arguments.images, steps=arguments.steps, seed=arguments.seed)
    reached = make_prior_heads(
        arguments.model, arguments.output, options, arguments.sizes, arguments.minutes
    )
    return "\n".join(f"{size} px: {value:.1f} dB" for size, value in reached.items())


def _cover(arguments: argparse.Namespace) -> str:
    from restore.training.cover_fit import CoverFitOptions, fit_cover_network

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    options = CoverFitOptions(minutes=arguments.minutes, steps=arguments.steps, seed=arguments.seed)
    states = arguments.states or arguments.output.with_suffix(".states")
    loss = fit_cover_network(arguments.crops, arguments.output, states, options)
    return f"{arguments.output}: loss {loss:.4f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m restore.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ship", help="a restorer as a package has it: float16, its card")
    command.add_argument("source", help="models/net_g_latest.safetensors of a training")
    command.add_argument("-o", "--output", required=True)
    command.add_argument("--training", required=True, help="one line for the card: what it saw")
    command = commands.add_parser("distil-identity", help="train the identity network")
    command.add_argument("-opt", required=True, help="option file")
    command.add_argument("--auto_resume", action="store_true", help="go on from the newest state")
    command = commands.add_parser("ship-identity", help="the identity network as a package has it")
    command.add_argument("source", help="identity_latest.safetensors of a distillation")
    command.add_argument("-o", "--output", required=True)
    command.add_argument("--data", required=True, help="one line for the card: what it saw")
    command = commands.add_parser(
        "prior-heads", help="small pictures of the prior: train its heads"
    )
    command.add_argument("-o", "--output", required=True)
    command.add_argument("--model", default="default-prior", help="whose heads, by name or file")
    command.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256], help="in px")
    command.add_argument("--images", type=int, default=60, help="faces to paint and learn from")
    command.add_argument("--steps", type=int, default=400)
    command.add_argument("--minutes", type=float, default=60, help="end the steps after this long")
    command.add_argument("--seed", type=int, default=0)
    command = commands.add_parser("cover", help="train the network that sees covered faces")
    command.add_argument("--crops", type=Path, nargs="+", required=True, help="stores of faces")
    command.add_argument("-o", "--output", type=Path, required=True)
    command.add_argument("--states", type=Path, help="folder of states; default: OUTPUT.states")
    command.add_argument("--minutes", type=float, default=20, help="of the whole training")
    command.add_argument("--steps", type=int, default=1_000_000, help="end after as many")
    command.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
