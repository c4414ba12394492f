"""`restore train`: train as an option file says."""

from __future__ import annotations

import argparse
import logging
import os
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's arguments."""
    parser.add_argument("-opt", required=True, help="option file")
    parser.add_argument("--launcher", default="none", choices=("none", "pytorch", "slurm"))
    parser.add_argument("--auto_resume", action="store_true", help="go on from the newest state")
    parser.add_argument("--debug", action="store_true", help="eight steps in debug_NAME")
    parser.add_argument("--local_rank", type=int, help="for old launchers")
    parser.add_argument(
        "--force_yml", nargs="+", default=[], metavar="a:b=c", help="change keys of the option file"
    )
    parser.add_argument(
        "--training_log", help="Markdown file that gets a row about this run; in its folder if none"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; the exit code."""
    from restore.train import train

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if arguments.local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(arguments.local_rank))
    return train(arguments)
