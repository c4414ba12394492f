"""`python -m restore.train -opt FILE`: parse, build, run, close."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from restore.errors import RestoreError


def main(argv: Sequence[str] | None = None) -> int:
    """Train as an option file says; 0, or 1 with one line on stderr."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if arguments.local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(arguments.local_rank))
    try:
        return train(arguments)
    except RestoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def train(arguments: argparse.Namespace) -> int:
    """The training of parsed arguments."""
    from restore.options.schema import dump_options, load_options
    from restore.runtime.memory import keep_freed_memory
    from restore.training.distributed import meet_ranks, start_ranks, stop_ranks
    from restore.training.log import append_training_log
    from restore.training.loop import fit, resume
    from restore.training.setup import build_run
    from restore.training.state import load_state, newest_state

    options = load_options(arguments.opt, [*arguments.force_yml, *_debug(arguments.debug)])
    if arguments.debug and not options.name.startswith("debug_"):
        options = dataclasses.replace(options, name=f"debug_{options.name}")
    keep_freed_memory()
    ranks = start_ranks(arguments.launcher, "cpu" if options.num_gpu == 0 else "auto")
    try:
        state = options.path.resume_state
        if arguments.auto_resume:
            folder = Path(options.path.experiments_root) / options.name / "training_states"
            state = str(newest_state(folder) or "") or state
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m restore.train", description=main.__doc__)
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
