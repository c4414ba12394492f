"""One photo of a batch: fetched, restored by the pipeline of the command line, put back."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restore.batch.plan import job_of, record_name
from restore.batch.prefix import Prefix
from restore.pipeline.run import Outcome, RunOptions, run_jobs


@dataclass(frozen=True)
class WorkerOptions:
    """Everything that a worker on another machine needs; it is pickled."""

    source: Prefix
    target: Prefix
    model: str = "default"
    """A name, or a path that exists on every machine of the cluster."""
    device: str | None = None
    backend: str = "auto"
    precision: str = "auto"
    detector: str = "default"
    threads: int | None = None
    crops: bool = False
    """Put the crops and comparisons as well."""
    run: RunOptions = field(default_factory=RunOptions)


class PhotoWorker:
    """Loads the model once; then a row of a plan in, the record of that photo out."""

    def __init__(self, options: WorkerOptions) -> None:
        from restore.pipeline.assemble import load_restorer

        self._options = options
        self._restorer = load_restorer(
            options.model,
            options.device,
            options.backend,
            options.detector,
            threads=options.threads,
            precision=options.precision,
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Returns {"record": JSON}. A photo that fails stops no other: its record says why."""
        with tempfile.TemporaryDirectory(prefix="restore-") as folder:
            record = self._one(row, Path(folder))
            text = json.dumps(record, ensure_ascii=False)
            file = Path(folder, "record.json")
            file.write_text(text + "\n", "utf-8")
            try:
                self._options.target.put(file, record_name(row))
            except Exception as error:
                record |= {"status": "error", "reason": f"the record cannot be written: {error}"}
                text = json.dumps(record, ensure_ascii=False)
        return {"record": text}

    def _one(self, row: dict[str, Any], folder: Path) -> dict[str, Any]:
        local = folder / "in" / Path(row["source"]).name
        output = folder / "out"
        local.parent.mkdir()
        try:
            self._options.source.fetch(row["source"], local)
        except Exception as error:  # each store has its own exceptions
            return self._failed(row, f"cannot be fetched: {type(error).__name__}: {error}")
        job = job_of(row, local, output)
        outcome: Outcome = next(iter(run_jobs(self._restorer, [job], self._options.run)))
        record = _named(outcome.record, row, local, output)
        if outcome.status == "error":
            return record
        try:
            files = [path for path in output.rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path == job.photo):  # the photo last
                if self._options.crops or path == job.photo:
                    self._options.target.put(path, path.relative_to(output).as_posix())
        except Exception as error:
            return self._failed(row, f"cannot be written: {type(error).__name__}: {error}")
        return record

    @staticmethod
    def _failed(row: dict[str, Any], reason: str) -> dict[str, Any]:
        return {"input": row["source"], "status": "error", "reason": reason, "output": None}


def _named(
    record: dict[str, Any], row: dict[str, Any], local: Path, output: Path
) -> dict[str, Any]:
    """The record with names relative to the prefixes, instead of this machine's folders."""
    text = json.dumps(record, ensure_ascii=False)
    for path, name in ((str(local), row["source"]), (f"{output}/", "")):
        text = text.replace(json.dumps(path, ensure_ascii=False)[1:-1], name)
    named: dict[str, Any] = json.loads(text)
    return named
