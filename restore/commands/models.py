"""`restore models` and `restore download`: models by name, and what a model file says of itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from restore.commands.tree import GOOD, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `restore models`."""
    parser.add_argument("file", nargs="?", help="a model file: its header and tensors are shown")


def run(arguments: argparse.Namespace) -> int:
    """List the models that have a name, or show a file."""
    from restore.checkpoints.named_models import MODELS, locate_model
    from restore.errors import CheckpointError

    if arguments.file is not None:
        print(describe_file(arguments.file))
        return GOOD
    for name, entry in MODELS.items():
        try:
            where = str(locate_model(name))
        except CheckpointError:
            where = "not on this machine"
        print(f"{name}: {where}; licence: {entry.licence}")
    return GOOD


def describe_file(path: str | Path) -> str:
    """Header fields, then name, type and shape of each tensor."""
    from restore.model_files import read_header

    header = read_header(path)
    tensors = header.pop("tensors")
    lines = [f"{key}: {value}" for key, value in header.items()]
    lines += [f"{name}  {t['dtype']} {t['shape']}" for name, t in tensors.items()]
    return "\n".join(lines)


def add_download_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `restore download`."""
    parser.add_argument("name", nargs="+")


def run_download(arguments: argparse.Namespace) -> int:
    """Fetch named models, verified, to the cache."""
    from tqdm import tqdm

    from restore.checkpoints.named_models import download_model, find_model

    for name in arguments.name:
        say(f"restore: licence of {name}: {find_model(name).licence}")
        with tqdm(unit="B", unit_scale=True, disable=None) as bar:

            def show(done: int, total: int | None, bar: Any = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            path = download_model(name, progress=show)
        print(path)
    return GOOD
