"""`restore train`: train as an option file says."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path


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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if arguments.local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(arguments.local_rank))
    return _train(arguments)


def _train(arguments: argparse.Namespace) -> int:
    from restore.options.schema import dump_options, load_options
    from restore.runtime.contract import keep_freed_memory
    from restore.training.distributed import meet_ranks, start_ranks, stop_ranks
    from restore.training.experiment import (
        append_training_log,
        folder_of,
        load_state,
        newest_state,
    )
    from restore.training.fit import fit, resume
    from restore.training.setup import build_run

    options = load_options(arguments.opt, [*arguments.force_yml, *_debug(arguments.debug)])
    if arguments.debug and not options.name.startswith("debug_"):
        options = dataclasses.replace(options, name=f"debug_{options.name}")
    keep_freed_memory()
    ranks = start_ranks(arguments.launcher, options.num_gpu)
    try:
        state = options.path.resume_state
        if arguments.auto_resume:
            state = str(newest_state(folder_of(options).states) or "") or state
        run = build_run(options, ranks, Path(arguments.opt), resumed=state is not None)
        if state is not None:
            resume(run, load_state(Path(state)), options.path.ignore_resume_networks)
        started, before = time.strftime("%Y-%m-%d %H:%M"), run.progress.images
        seconds = run.progress.seconds
        ending = fit(run)
        if ranks.first:
            entry: Mapping[str, object] = {
                "started": started,
                "name": options.name,
                "minutes": f"{(run.progress.seconds - seconds) / 60:.1f}",
                "images_from": before,
                "images_to": run.progress.images,
                "data": ", ".join(Path(r).name for r in options.train_set.roots),  # type: ignore[union-attr]
                "options": hashlib.sha256(dump_options(options).encode()).hexdigest()[:12],
                "metrics": {k: round(v, 4) for k, v in run.last_validation.items()},
                "ended": ending,
            }
            log = arguments.training_log or run.folder.root / "training_log.md"
            append_training_log(Path(log), entry)
        run.log.close()
        meet_ranks(ranks)
    finally:
        stop_ranks(ranks)
    return 0


def _debug(wanted: bool) -> list[str]:
    """What `--debug` changes: eight steps, everything logged and validated."""
    if not wanted:
        return []
    return [
        "train:total_iter=8",
        "logger:print_freq=1",
        "logger:save_checkpoint_freq=8",
        "val:val_freq=8",
    ]
