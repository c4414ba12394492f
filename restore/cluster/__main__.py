"""`python -m restore.cluster`: restore large sets of photos on a Ray cluster."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore.cluster.run import (
    Cluster,
    Prefix,
    WorkerOptions,
    failures,
    plan_batch,
    prefix_of,
    run_batch,
)
from restore.errors import InputError, OptionError, RestoreError

GOOD, SOME_FAILED, NOTHING_DONE, INTERRUPTED = 0, 1, 2, 130
FAILURES = "failures.jsonl"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a batch; 0 all done, 1 some photos failed, 2 nothing could be done, 130 interrupted."""
    options = _parser().parse_args(argv)
    try:
        return _run(options)
    except RestoreError as error:
        print(f"restore.batch: error: {error}", file=sys.stderr)
        return NOTHING_DONE
    except KeyboardInterrupt:
        print("restore.batch: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    source, target = prefix_of(options.input), prefix_of(options.output)
    cluster = Cluster(options.address, options.workers, options.cpus, options.gpus)
    worker = _worker_options(options, source, target)
    if not source.exists():
        raise InputError(f"{source.url}: there is nothing; expected a folder or prefix of photos")
    plan = plan_batch(source, target, options.ext, options.suffix, options.overwrite)
    total = plan.done + len(plan.todo)
    if not total:
        raise InputError(f"{source.url}: no photo among its {plan.ignored} files")
    print(
        f"restore.batch: {total} photos, {plan.done} done before, {plan.ignored} other files",
        file=sys.stderr,
    )
    records: list[dict[str, Any]] = []
    bar = tqdm(total=len(plan.todo), unit="photo", disable=True if options.quiet else None)
    with bar:
        for record in run_batch(plan, worker, cluster):
            records.append({key: record.get(key) for key in ("input", "status", "reason")})
            bar.update()
    failed = failures(records)
    _list_failures(target, failed)
    for record in failed:
        print(f"restore.batch: {record['input']}: {record['reason']}", file=sys.stderr)
    print(
        f"restore.batch: {len(records)} photos, {len(failed)} with failures -> {target.url}",
        file=sys.stderr,
    )
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


def _worker_options(options: argparse.Namespace, source: Prefix, target: Prefix) -> WorkerOptions:
    from restore.images.files_write import WriteOptions
    from restore.pipeline.canvas import scaled_size
    from restore.pipeline.run import RunOptions

    scaled_size(1, 1, options.upscale)
    for name in ("workers", "cpus"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise OptionError(f"--{name} is {value}; expected 1 or more")
    if options.gpus < 0:
        raise OptionError(f"--gpus is {options.gpus}; expected 0 or more")
    if options.weight is not None and not 0 <= options.weight <= 1:
        raise OptionError(f"-w is {options.weight}; expected a number from 0 to 1")
    model = options.model
    if Path(model).is_file():
        model = str(Path(model).resolve())
    return WorkerOptions(
        source,
        target,
        model,
        options.device or ("cuda" if options.gpus else "cpu"),
        options.backend,
        options.precision,
        threads=options.threads or options.cpus,
        crops=options.crops,
        run=RunOptions(options.upscale, options.weight, write=WriteOptions(options.quality)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m restore.batch",
        description=__doc__,
        epilog="What has results under the output is left out, so the same command resumes a run.",
    )
    add = parser.add_argument
    add("-i", "--input", required=True, metavar="PREFIX", help="folder, or s3://bucket/photos, ...")
    add("-o", "--output", required=True, metavar="PREFIX", help="folder or prefix of the results")
    add("-s", "--upscale", type=float, default=2.0, metavar="FACTOR", help="default: %(default)s")
    add(
        "-w", "--weight", type=float, metavar="0..1", help="1 photo leads (default), 0 prior paints"
    )
    add("--model", default="default", help="name, or a file that every machine has at this path")
    add("--device", help="default: cuda with --gpus, else cpu")
    add("--backend", default="auto", choices=["auto", "onnxruntime", "openvino", "torch"])
    add("--precision", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    add("--ext", default="auto", help="format of the photos: auto (as they came), jpg, png, ...")
    add("--suffix", help="put behind the names of what is restored")
    add("--quality", type=int, default=95, metavar="1..100", help="of JPEG, WebP, AVIF; default 95")
    add("--crops", action="store_true", help="the crops and comparisons as well")
    add("--overwrite", action="store_true", help="replace earlier results")
    add("--address", help="of a running Ray cluster, auto for this machine's; default: a local one")
    add("--workers", type=int, metavar="N", help="processes; default: as many as fit")
    add("--cpus", type=int, default=1, metavar="N", help="for each worker; default: %(default)s")
    add("--gpus", type=float, default=0, metavar="N", help="for each worker, 0.5 for two on one")
    add("--threads", type=int, help="of each worker's network; default: its CPUs")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
