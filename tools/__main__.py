"""`python -m tools NAME`: makers of the weights that the package ships, from a checkout."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from restore.errors import RestoreError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a maker; graphs are written by `restore export OUT --check` afterwards."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        print(arguments.run(arguments))
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _ship(arguments: argparse.Namespace) -> str:
    from tools.ship import ship_file

    return str(ship_file(arguments.source, arguments.output, arguments.training)["card"])


def _identity(arguments: argparse.Namespace) -> str:
    from tools.identity import distil

    return str(distil(arguments.opt, arguments.auto_resume))


def _ship_identity(arguments: argparse.Namespace) -> str:
    from tools.identity import ship_identity

    return str(ship_identity(arguments.source, arguments.output, arguments.data)["card"])


def _prior_heads(arguments: argparse.Namespace) -> str:
    from tools.prior_heads import SizeHeadOptions, make_prior_heads

    options = SizeHeadOptions(images=arguments.images, steps=arguments.steps, seed=arguments.seed)
    reached = make_prior_heads(
        arguments.model,
        arguments.output,
        options,
        arguments.sizes,
        _folder(arguments),
        arguments.minutes,
    )
    return "\n".join(f"{size} px: {value:.1f} dB" for size, value in reached.items())


def _occlusion(arguments: argparse.Namespace) -> str:
    from tools.occlusion import OcclusionOptions, fit_occlusion_network

    options = OcclusionOptions(
        minutes=arguments.minutes, steps=arguments.steps, seed=arguments.seed
    )
    done = fit_occlusion_network(arguments.crops, arguments.output, _folder(arguments), options)
    return f"{arguments.output}: {done.images} faces seen in {done.seconds / 60:.1f} minutes"


def _folder(arguments: argparse.Namespace) -> Path:
    return arguments.folder or arguments.output.with_suffix(".run")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ship", help="a restorer as a package has it: float16, its card")
    command.add_argument("source", help="models/net_g_latest.safetensors of a training")
    command.add_argument("-o", "--output", required=True)
    command.add_argument("--training", required=True, help="one line for the card: what it saw")
    command.set_defaults(run=_ship)
    command = commands.add_parser("identity", help="distil the identity network")
    command.add_argument("-opt", required=True, help="option file")
    command.add_argument("--auto_resume", action="store_true", help="go on from the newest state")
    command.set_defaults(run=_identity)
    command = commands.add_parser("ship-identity", help="the identity network as a package has it")
    command.add_argument("source", help="identity_latest.safetensors of a distillation")
    command.add_argument("-o", "--output", required=True)
    command.add_argument("--data", required=True, help="one line for the card: what it saw")
    command.set_defaults(run=_ship_identity)
    command = commands.add_parser(
        "prior-heads", help="small pictures of the prior: train its heads"
    )
    command.add_argument("--model", default="default-prior", help="whose heads, by name or file")
    command.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256], help="in px")
    command.add_argument("--images", type=int, default=60, help="faces to paint and learn from")
    _add_training(command, steps=400, minutes=60)
    command.set_defaults(run=_prior_heads)
    command = commands.add_parser("occlusion", help="train the network that sees covered faces")
    command.add_argument("--crops", type=Path, nargs="+", required=True, help="stores of faces")
    _add_training(command, steps=1_000_000, minutes=20)
    command.set_defaults(run=_occlusion)
    return parser


def _add_training(command: argparse.ArgumentParser, steps: int, minutes: float) -> None:
    command.add_argument("-o", "--output", type=Path, required=True)
    command.add_argument("--folder", type=Path, help="of states and logs; default: OUTPUT.run")
    command.add_argument("--steps", type=int, default=steps, help="end after as many")
    command.add_argument("--minutes", type=float, default=minutes, help="of the whole training")
    command.add_argument("--seed", type=int, default=0)


if __name__ == "__main__":
    raise SystemExit(main())
