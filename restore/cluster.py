"""Restoring folders of photos on many machines by Ray Data: plan, workers, what they wrote."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from restore.errors import DeviceError, InputError, MissingExtraError
from restore.images.formats import PHOTO_SUFFIXES
from restore.pipeline.names import Job, plan_jobs
from restore.pipeline.options import ModelOptions
from restore.pipeline.report import GOOD
from restore.pipeline.run import Outcome, RunOptions, run_jobs
from restore.pipeline.walk import Source


def prefix_of(given: str) -> Prefix:
    """The prefix that a user names; a path of this machine becomes absolute, for every process."""
    return Prefix(given if "://" in given else os.path.abspath(given))


@dataclass(frozen=True)
class Prefix:
    """Files below `url`, named by their path relative to it. Holds no connection: it travels."""

    url: str
    """A local path, or a URL such as s3://bucket/photos."""

    def names(self) -> list[str]:
        """All files, sorted; [] where there is nothing. `InputError` if it cannot be read."""
        fs, root = self._open()
        try:
            found = fs.find(root)
        except FileNotFoundError:
            return []
        except Exception as error:  # each store has its own exceptions
            raise self._unreadable(error) from error
        return sorted(str(PurePosixPath(path).relative_to(root)) for path in found)

    def identities(self) -> dict[str, dict[str, Any]]:
        """All files with what tells one version of each from another: bytes, time or checksum."""
        fs, root = self._open()
        try:
            found = fs.find(root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:  # each store has its own exceptions
            raise self._unreadable(error) from error
        kept = ("size", "mtime", "LastModified", "ETag", "created", "md5Hash", "etag")
        return {
            str(PurePosixPath(path).relative_to(root)): {
                "path": str(PurePosixPath(path).relative_to(root)),
                **{key: str(about[key]) for key in kept if about.get(key) is not None},
            }
            for path, about in sorted(found.items())
        }

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file; None where it is not there."""
        fs, root = self._open()
        try:
            data: bytes = fs.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unreadable(error) from error
        return data

    def exists(self) -> bool:
        """Whether there is something under this prefix."""
        fs, root = self._open()
        try:
            return bool(fs.exists(root))
        except Exception as error:
            raise self._unreadable(error) from error

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to this machine."""
        fs, root = self._open()
        fs.get_file(f"{root}/{name}", os.fspath(target))

    def put(self, source: Path, name: str) -> None:
        """Copy a file of this machine to the prefix; readers see the whole file or none."""
        fs, root = self._open()
        path = f"{root}/{name}"
        fs.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        if not self._local(fs):  # an object appears when its upload is complete
            fs.put_file(os.fspath(source), path)
            return
        part = f"{root}/{PurePosixPath(name).parent}/.{uuid.uuid4().hex}.part"
        fs.put_file(os.fspath(source), part)
        os.replace(part, path)

    def _open(self) -> tuple[Any, str]:
        """The file system and the path of this prefix in it."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingExtraError("fsspec", "ray", "restore cluster") from error
        try:
            fs, root = url_to_fs(self.url)
        except ImportError:  # fsspec knows the scheme, but the package for it is not there
            fs, root = self._through_pyarrow()
        except ValueError as error:
            raise self._unreadable(error) from error
        return fs, str(root).rstrip("/")

    def _through_pyarrow(self) -> tuple[Any, str]:
        try:
            from fsspec.implementations.arrow import ArrowFSWrapper
            from pyarrow.fs import FileSystem

            fs, root = FileSystem.from_uri(self.url)
        except Exception as error:
            raise self._unreadable(error) from error
        return ArrowFSWrapper(fs), root

    def _local(self, fs: Any) -> bool:
        return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(
            f"{self.url} cannot be opened: {type(error).__name__}: {error}; expected a folder, or "
            "a prefix such as s3://bucket/photos with its fsspec package or pyarrow installed"
        )


PHOTOS, RECORDS = "restored_imgs", "records"


@dataclass(frozen=True)
class Plan:
    """`todo`: rows for the workers; `done`: how many have results; `ignored`: no photos by name."""

    todo: tuple[dict[str, str], ...]
    done: int
    ignored: int


def plan_batch(
    source: Prefix,
    target: Prefix,
    ext: str = "auto",
    suffix: str | None = None,
    again: bool = False,
    key: str = "",
) -> Plan:
    """Plan a run; with `again` what has results is done anew.

    The names are those of the command line, so collisions (a.jpg, a.png) are settled here, where
    all names are known. A photo counts as done when its result is there and its record says that it
    was made well, of this version of the photo, with these options (`key`). Results under the
    source's own prefix are not taken for photos.
    Raises InputError where a result would replace that of a photo under another prefix.
    """
    versions = source.identities()
    names = list(versions)
    inside = _inside(source, target)
    photos = [
        name
        for name in names
        if PurePath(name).suffix.lower() in PHOTO_SUFFIXES
        and not PurePath(name).name.startswith(".")
        and not (inside and name.startswith(inside))
    ]
    sources = [Source(Path(name), PurePath(name).parent) for name in photos]
    jobs = plan_jobs(sources, Path(), ext, suffix)
    there = set(target.names())
    todo = []
    for job in jobs:
        identity = versions[job.source.as_posix()] | {"prefix": source.url}
        row = row_of(job) | {"identity": json.dumps(identity)}
        if job.photo.as_posix() in there and not _may_be_redone(target, row, again, key):
            continue
        todo.append(row)
    return Plan(tuple(todo), len(jobs) - len(todo), len(names) - len(photos))


def _may_be_redone(target: Prefix, row: dict[str, str], again: bool, key: str) -> bool:
    """Whether a photo that has a result is done anew; InputError where it is another photo's."""
    name = record_name(row)
    try:
        record = json.loads(target.read(name) or b"null")
    except ValueError:
        record = None
    made_of, wanted = (record or {}).get("source"), json.loads(row["identity"])
    if not isinstance(made_of, dict):
        raise InputError(
            f"{target.url}: there is a result for {row['source']}, but no record that says of what "
            f"({name}); choose another prefix with -o, or move it away"
        )
    if any(made_of.get(part) != wanted[part] for part in ("prefix", "path")):
        raise InputError(
            f"{target.url}: the result for {row['source']} was made of {made_of.get('path')} under "
            f"{made_of.get('prefix')}; choose another prefix with -o"
        )
    done = record["status"] in GOOD and record.get("options") == key and made_of == wanted
    return again or not done


def row_of(job: Job) -> dict[str, str]:
    """A job as a row of a data set: strings only."""
    return {
        "source": job.source.as_posix(),
        "folder": job.folder.as_posix(),
        "name": job.name,
        "ending": job.ending,
        "tag": job.tag,
    }


def job_of(row: dict[str, str], source: Path, output: Path) -> Job:
    """The job of a row whose photo lies at `source` here and whose results go below `output`."""
    return Job(source, output, PurePath(row["folder"]), row["name"], row["ending"], row["tag"])


def record_name(row: dict[str, str]) -> str:
    """Where the record of a photo goes."""
    return (PurePath(RECORDS) / row["folder"] / f"{row['name']}.json").as_posix()


def _inside(source: Prefix, target: Prefix) -> str | None:
    """The target's path relative to the source where it lies below it."""
    outer, inner = source.url.rstrip("/") + "/", target.url.rstrip("/") + "/"
    return inner.removeprefix(outer) if inner.startswith(outer) and inner != outer else None


def failures(records: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The records of photos of which something or all failed."""
    return [record for record in records if record["status"] not in GOOD]


@dataclass(frozen=True)
class WorkerOptions:
    """Everything that a worker on another machine needs; it is pickled."""

    source: Prefix
    target: Prefix
    model: ModelOptions = field(default_factory=ModelOptions)
    """A name, or a path that exists on every machine of the cluster."""
    crops: bool = False
    """Put the crops and comparisons as well."""
    run: RunOptions = field(default_factory=RunOptions)


class PhotoWorker:
    """Loads the model once; then a row of a plan in, the record of that photo out."""

    def __init__(self, options: WorkerOptions) -> None:
        from restore.pipeline.restorer import load_restorer

        self._options = options
        self._restorer = load_restorer(options.model)

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
            # Whose the files are is said first: a worker that is killed leaves no nameless ones.
            begun = folder / "begun.json"
            begun.write_text(json.dumps(record | {"status": "started"}) + "\n", "utf-8")
            self._options.target.put(begun, record_name(row))
            files = [path for path in output.rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path == job.photo):  # the photo last
                if self._options.crops or path == job.photo:
                    self._options.target.put(path, path.relative_to(output).as_posix())
        except Exception as error:
            return self._failed(row, f"cannot be written: {type(error).__name__}: {error}")
        return record

    @staticmethod
    def _failed(row: dict[str, Any], reason: str) -> dict[str, Any]:
        return {
            "input": row["source"], "status": "error", "reason": reason, "output": None,
            "source": json.loads(row["identity"]),
        }  # fmt: skip


def _named(
    record: dict[str, Any], row: dict[str, Any], local: Path, output: Path
) -> dict[str, Any]:
    """The record with names relative to the prefixes, instead of this machine's folders."""

    def named(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(str(local), row["source"]).replace(f"{output}/", "")
        if isinstance(value, dict):
            return {key: named(inner) for key, inner in value.items()}
        return [named(inner) for inner in value] if isinstance(value, list) else value

    changed: dict[str, Any] = named(record)
    return changed | {"source": json.loads(row["identity"])}


@dataclass(frozen=True)
class Cluster:
    """Where the work runs."""

    address: str | None = None
    """Of a running cluster ("auto" for the one this machine belongs to); None starts a local one,
    which listens on 127.0.0.1 alone."""
    workers: int | None = None
    """Processes that each hold the model; None: as many as the cluster's CPUs or GPUs allow."""
    cpus: int = 1
    """Per worker; also the threads of its network unless they are given."""
    gpus: float = 0
    """Per worker."""


def run_batch(plan: Plan, options: WorkerOptions, cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Yield the record of each photo of the plan as it is finished, in any order.

    A worker that dies is started anew by Ray and its photo tried again. Raises
    `MissingExtraError` without the extra `ray`, `DeviceError` where the cluster cannot do it.
    """
    if not plan.todo:
        return
    ray = _start(cluster)
    try:
        workers = cluster.workers or _workers(ray, cluster)
        workers = min(workers, len(plan.todo))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        blocks = min(len(plan.todo), 8 * workers)  # small ones, so that none waits for the last
        rows = ray.data.from_items(list(plan.todo), override_num_blocks=blocks)
        done = rows.map(
            PhotoWorker,
            fn_constructor_args=(options,),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus or None,
        )
        for row in done.iter_rows():
            yield json.loads(row["record"])
    finally:
        if cluster.address is None:
            ray.shutdown()


# Read by Ray when it is imported. Nothing is sent to anybody; a local cluster is for this machine
# only (on Linux Ray would listen on its outer address, this variable's name notwithstanding).
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def _start(cluster: Cluster) -> Any:
    local = cluster.address is None
    for name, value in {**SETTINGS, **(LOOPBACK_ONLY if local else {})}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "restore cluster") from error
    options: dict[str, Any] = {"address": cluster.address}
    if local:
        cpus = cluster.workers * cluster.cpus if cluster.workers else None
        options = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray has many kinds, plain Exception among them
        raise DeviceError(
            f"Ray cannot be started at {cluster.address or 'this machine'}: {error}"
        ) from error
    return ray


def _workers(ray: Any, cluster: Cluster) -> int:
    resources = ray.cluster_resources()
    limits = [resources.get("CPU", 0) / cluster.cpus]
    if cluster.gpus:
        limits.append(resources.get("GPU", 0) / cluster.gpus)
    if min(limits) < 1:
        raise DeviceError(
            f"the cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} "
            f"GPUs; a worker needs {cluster.cpus} and {cluster.gpus:g}"
        )
    return int(min(limits))
