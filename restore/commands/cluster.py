"""`restore cluster`: restore large sets of photos on a Ray cluster."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from restore.cluster import (
    Cluster,
    Prefix,
    WorkerOptions,
    failures,
    plan_batch,
    prefix_of,
    run_batch,
)
from restore.commands.flags import add_flags, from_flags
from restore.commands.tree import GOOD, NOTHING_DONE, SOME_FAILED, say
from restore.errors import InputError, OptionError
from restore.pipeline.options import ModelOptions, RestoreOptions

FAILURES = "failures.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `restore cluster`."""
    parser.epilog = (
        "What has results under the output is left out, so the same command resumes a run.\n"
        + (parser.epilog or "")
    )
    add = parser.add_argument
    add("-i", "--input", required=True, metavar="PREFIX", help="folder, or s3://bucket/photos, ...")
    add("-o", "--output", required=True, metavar="PREFIX", help="folder or prefix of the results")
    add("--ext", default="auto", help="format of the photos: auto (as they came), jpg, png, ...")
    add("--suffix", help="put behind the names of what is restored")
    add("--quality", type=int, default=95, metavar="1..100", help="of JPEG, WebP, AVIF; default 95")
    add("--crops", action="store_true", help="the crops and comparisons as well")
    add("--overwrite", action="store_true", help="replace earlier results")
    add("--address", help="of a running Ray cluster, auto for this machine's; default: a local one")
    add("--workers", type=int, metavar="N", help="processes; default: as many as fit")
    add("--cpus", type=int, default=1, metavar="N", help="for each worker; default: %(default)s")
    add("--gpus", type=float, default=0, metavar="N", help="for each worker, 0.5 for two on one")
    add("--quiet", action="store_true", help="no progress bar")
    add_flags(parser.add_argument_group("what is done with a photo"), RestoreOptions, ("aligned",))
    add_flags(parser.add_argument_group("the model, with one path for all machines"), ModelOptions)


def run(arguments: argparse.Namespace) -> int:
    """Run a batch; 0 all done, 1 some photos failed."""
    from tqdm import tqdm

    source, target = prefix_of(arguments.input), prefix_of(arguments.output)
    cluster = Cluster(arguments.address, arguments.workers, arguments.cpus, arguments.gpus)
    worker = _worker_options(arguments, source, target)
    if not source.exists():
        raise InputError(f"{source.url}: there is nothing; expected a folder or prefix of photos")
    plan = plan_batch(
        source, target, arguments.ext, arguments.suffix, arguments.overwrite, worker.run.key
    )
    total = plan.done + len(plan.todo)
    if not total:
        raise InputError(f"{source.url}: no photo among its {plan.ignored} files")
    say(f"restore: {total} photos, {plan.done} done before, {plan.ignored} other files")
    records: list[dict[str, Any]] = []
    bar = tqdm(total=len(plan.todo), unit="photo", disable=True if arguments.quiet else None)
    with bar:
        for record in run_batch(plan, worker, cluster):
            records.append({key: record.get(key) for key in ("input", "status", "reason")})
            bar.update()
    failed = failures(records)
    _list_failures(target, failed)
    for record in failed:
        say(f"restore: {record['input']}: {record['reason']}")
    say(f"restore: {len(records)} photos, {len(failed)} with failures -> {target.url}")
    if not failed:
        return GOOD
    written = plan.done or any(record["status"] != "error" for record in records)
    return SOME_FAILED if written else NOTHING_DONE


def _list_failures(target: Prefix, failed: Sequence[dict[str, Any]]) -> None:
    """`failures.jsonl` under the target: of the last run, empty where all went well."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, FAILURES)
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in failed]
        file.write_text("".join(lines), "utf-8")
        target.put(file, FAILURES)


def _worker_options(arguments: argparse.Namespace, source: Prefix, target: Prefix) -> WorkerOptions:
    from restore.images.write import WriteOptions
    from restore.pipeline.report import options_key
    from restore.pipeline.run import RunOptions

    for name in ("workers", "cpus"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise OptionError(f"--{name} is {value}; expected 1 or more")
    if arguments.gpus < 0:
        raise OptionError(f"--gpus is {arguments.gpus}; expected 0 or more")
    model = from_flags(arguments, ModelOptions)
    if Path(model.model).is_file():
        model = replace(model, model=str(Path(model.model).resolve()))
    model = replace(
        model,
        device=model.device or ("cuda" if arguments.gpus else "cpu"),
        threads=model.threads or arguments.cpus,
    )
    run = RunOptions(from_flags(arguments, RestoreOptions), WriteOptions(arguments.quality))
    key = options_key(run, model=model.shaping(), ext=arguments.ext, suffix=arguments.suffix)
    run = replace(run, key=key)
    return WorkerOptions(source, target, model, crops=arguments.crops, run=run)
