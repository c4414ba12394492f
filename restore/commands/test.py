"""`restore test`: the validation of an option file, without training."""

from __future__ import annotations

import argparse
import logging
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's arguments."""
    parser.add_argument("-opt", required=True, help="option file")
    parser.add_argument("--launcher", default="none", choices=("none", "pytorch", "slurm"))
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="a:b=c")


def run(arguments: argparse.Namespace) -> int:
    """Measure path.pretrain_network_g on every validation set."""
    from restore.test import test

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    return test(arguments)
