"""A run over many photos: restored ahead, written in order, reported, summed up."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np

from restore.errors import InputError, RestoreError
from restore.images.files import Page, page_count, size_of
from restore.images.formats import format_of
from restore.images.metadata import Metadata, ai_labelled
from restore.images.write import TiffPages, WriteOptions, atomic_file, write_photo
from restore.pipeline.names import Job
from restore.pipeline.options import RestoreOptions
from restore.pipeline.report import identity_of, photo_record
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import PhotoStatus, RestoredPhoto
from restore.pipeline.walk import Walk
from restore.runtime.contract import Runtime

if TYPE_CHECKING:
    from restore.trust.identity import References


Watch = Callable[[Job, Path | Page | None, RestoredPhoto | None, Mapping[str, Any]], None]
Picture = tuple[Path | Page, RestoredPhoto, Mapping[str, Any]]
"""A photo or a page, what it became, and its record."""


@dataclass(frozen=True)
class RunOptions:
    """How the photos of a run are restored and written."""

    restore: RestoreOptions = field(default_factory=RestoreOptions)
    write: WriteOptions = field(default_factory=WriteOptions)
    ai_label: bool = True
    """Say in the XMP of restored photos that a model made some of it (IPTC digitalSourceType)."""
    references: References | None = None
    """Other photos of the person: of several fidelities the closest face is taken."""
    key: str = ""
    """Names everything that shapes the results (`options_key`), for records and `--resume`."""


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    job: Job
    status: PhotoStatus | Literal["error"]
    """"error": nothing could be written for it."""
    reason: str | None
    faces: int
    """Faces that are others now: restored, in full or in part."""
    record: dict[str, Any]
    """Its line of the report."""

    @property
    def good(self) -> bool:
        """Whether all was done that was to be done."""
        return self.status in ("restored", "no_face")


def pages_of(job: Job) -> list[Path | Page]:
    """What is restored for a job, in order: the photo, or each page of a TIFF of several."""
    count = page_count(job.source)
    if count < 2 or job.aligned:
        return [job.source]
    return [Page(job.source, index) for index in range(count)]


def run_jobs(
    restorer: Restorer,
    jobs: Iterable[Job],
    options: RunOptions,
    watch: Watch | None = None,
    pages: Callable[[Job], list[Path | Page]] = pages_of,
    report: Callable[[Mapping[str, Any]], None] | None = None,
) -> Iterator[Outcome]:
    """Restore photo after photo, yielding each outcome; a photo that fails stops no other.

    `report(record)` is called as soon as a photo is in place; no interruption comes between.
    `watch(job, source, result, record)` is called for each picture (the photo, or a page of it)
    with its own record, and after each photo with None, None and the record of the whole. It sees
    the pictures, which are not kept: an outcome holds numbers only.
    """
    for job in jobs:
        yield _run_job(restorer, job, options, watch, pages, report)


def _run_job(
    restorer: Restorer,
    job: Job,
    options: RunOptions,
    watch: Watch | None,
    pages: Callable[[Job], list[Path | Page]],
    report: Callable[[Mapping[str, Any]], None] | None,
) -> Outcome:
    with ExitStack() as held:
        outcome, last = _restored_and_written(restorer, job, options, pages, held, watch)
        if report is not None:
            report(outcome.record)
    if watch is not None:
        if last is not None:
            watch(job, *last)
        watch(job, None, None, outcome.record)
    return outcome


def _restored_and_written(
    restorer: Restorer,
    job: Job,
    options: RunOptions,
    pages: Callable[[Job], list[Path | Page]],
    held: ExitStack,
    watch: Watch | None,
) -> tuple[Outcome, Picture | None]:
    """The outcome, and the last picture, which `watch` has not seen yet; from the photo's writing
    on nothing interrupts."""
    identity = identity_of(job.source)  # before it is read: a change meanwhile is seen next time
    head = {"source": identity, "options": options.key, "name": job.name}
    try:
        results, record, last, changed = _write(restorer, job, options, pages(job), held, watch)
    except RestoreError as error:
        return _failed(job, str(error), head), None
    # The border between photos: whatever one of them sets off, the others go on.
    except Exception as error:
        return _failed(job, f"{job.source}: {type(error).__name__}: {error}", head), None
    status, reason = worst_status(results)
    record = _head(job, status, reason) | head | record
    record |= {"status": status, "reason": reason}
    return Outcome(job, status, reason, changed, record), last


def worst_status(
    results: Sequence[tuple[PhotoStatus, str | None]],
) -> tuple[PhotoStatus, str | None]:
    """The status of a photo by those of its pages, and the reason of the first that has it."""
    if len(results) == 1:
        return results[0]
    statuses = {status for status, _ in results}
    status: PhotoStatus = "restored"
    if statuses & {"partial", "failed"}:
        status = "failed" if statuses <= {"failed", "no_face"} else "partial"
    elif statuses == {"no_face"}:
        status = "no_face"
    said = {"partial": ("partial", "failed"), "failed": ("failed",), "no_face": ("no_face",)}
    for number, (one, reason) in enumerate(results, 1):
        if one in said.get(status, ()):
            return status, f"page {number}: {reason}"
    return status, None


def _write(
    restorer: Restorer,
    job: Job,
    options: RunOptions,
    sources: Sequence[Path | Page],
    held: ExitStack,
    watch: Watch | None,
) -> tuple[list[tuple[PhotoStatus, str | None]], dict[str, Any], Picture, int]:
    """Restore and write a photo page by page: statuses, what its record holds, the last page, which
    `watch` has not seen yet, and how many faces are others now.

    Crops and comparisons come first and the photo last. Several pages go into one TIFF where the
    result is a TIFF, else each into a file of its own.
    """
    known = job.earlier is not None
    several = len(sources) > 1
    statuses: list[tuple[PhotoStatus, str | None]] = []
    record: dict[str, Any] = {}
    outputs: list[str] = []
    last: Picture | None = None
    changed = 0
    with ExitStack() as closing:
        tiff: TiffPages | None = None
        if several and format_of(job.ending).name == "TIFF":
            tiff = TiffPages(closing.enter_context(atomic_file(job.photo, known)), options.write)
        for index, source in enumerate(sources):
            if watch is not None and last is not None:
                watch(job, *last)
            result = restorer.restore(source, options.restore, references=options.references)
            if index == len(sources) - 1:
                held.enter_context(undisturbed())
            numbers = (
                {} if job.file else _write_faces(job, result, options, len(record.get("faces", ())))
            )
            if job.aligned and not job.file:
                notes = result.save(job.result, options.write, ai_label=options.ai_label)
            elif tiff is not None:
                metadata, notes = result.metadata_for(".tif", options.ai_label)
                notes += tiff.add(result.image, metadata)
            else:
                path = job.page(index) if several else job.photo
                notes = result.save(
                    path, options.write, ai_label=options.ai_label, replace_file=known
                )
                outputs.append(str(path))
            statuses.append((result.status, result.reason))
            one = photo_record(result, numbers)
            one["notes"] += [note for note in notes if note not in one["notes"]]
            changed += sum(face.changed for face in result.faces)
            if several:
                one["faces"] = [face | {"page": index + 1} for face in one["faces"]]
            place = {"page": index + 1, "pages": len(sources)} if several else {}
            last = source, result, {"input": str(job.source)} | one | place
            record = _joined(record, one)
    assert last is not None
    if several:
        record["pages"] = len(sources)
    record["output"] = outputs[0] if outputs else str(job.result)
    if len(outputs) > 1:
        record["outputs"] = outputs
    return statuses, record, last, changed


def _joined(record: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
    """The record of a photo with one page more: seconds add up, faces and notes follow."""
    if not record:
        return page
    return record | {
        "seconds": record["seconds"] + page["seconds"],
        "faces": record["faces"] + page["faces"],
        "notes": record["notes"] + [note for note in page["notes"] if note not in record["notes"]],
    }


def _write_faces(
    job: Job, result: RestoredPhoto, options: RunOptions, before: int
) -> dict[int, str]:
    """Write the crops and comparisons of faces; the files of the restored crops.

    `before`: faces of earlier pages, whose numbers are taken.
    """
    files: dict[int, str] = {}
    label = ai_labelled(OWN, 1, format_of(".png"))[0] if options.ai_label else OWN
    for index, face in enumerate(result.faces):
        if face.crop is None or face.restored is None:
            continue
        number = before + len(files)
        both = np.concatenate([face.crop, face.restored], axis=1)
        made = [(job.crop(number), face.crop, OWN), (job.comparison(number), both, label)]
        if not job.aligned:
            made.append((job.restored(number), face.restored, label))
        for path, pixels, metadata in made:
            _check_own(path)
            write_photo(path, pixels, metadata if face.changed else OWN)
        files[index] = str(job.restored(number))
    return files


OWN = Metadata(text=(("Software", "restore"),))
"""In every crop that is written: such a file may be replaced."""


def _check_own(path: Path) -> None:
    """InputError where a file is there that no run wrote as a crop."""
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError:
        return
    if b"Software\0" not in start or b"restore" not in start:
        raise InputError(
            f"{path} is there already and no crop of this program; move it away, or choose another "
            "folder with -o"
        )


@contextmanager
def undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM that arrive meanwhile act when the block is through."""
    came: list[int] = []
    former: dict[int, Any] = {}
    with suppress(ValueError):  # not the main thread, where signals do not arrive
        for wanted in (signal.SIGINT, signal.SIGTERM):
            former[wanted] = signal.signal(wanted, lambda n, frame: came.append(n))
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def _failed(job: Job, reason: str, head: Mapping[str, Any]) -> Outcome:
    record = _head(job, "error", reason) | dict(head) | {"output": None}
    return Outcome(job, "error", reason, 0, record)


def _head(job: Job, status: str, reason: str | None) -> dict[str, Any]:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"input": str(job.source), "status": status, "reason": reason, "time": now}


CPU_AHEAD = 2
"""Photos that are restored at once: one decodes or detects while the network has the other."""
GPU_AHEAD = 8
"""As many fill the batches of a GPU, which `SharedBatches` joins."""
MEGAPIXELS_AT_ONCE = 80.0
"""Of the results in work, ready and being written; a larger photo is alone."""


def ahead_of(runtime: Runtime) -> int:
    """How many photos at once suit a runtime and this machine."""
    if getattr(runtime, "joins_requests", False):
        return GPU_AHEAD
    return CPU_AHEAD if (os.cpu_count() or 1) > 1 else 1


class RestoresPhotos(Protocol):
    """The one thing that a run asks of a `Restorer`."""

    @property
    def restore(self) -> Callable[..., RestoredPhoto]:
        """As `Restorer.restore`."""
        ...


class WorkingAhead:
    """A restorer that works on the photos that will be asked for next, in threads of its own.

    `sources` in the order in which `restore` will be asked for them, with the same options each
    time. At most `ahead` photos, and of `MEGAPIXELS_AT_ONCE`, are in work or ready, which bounds
    the memory. The threads are daemons: an interrupted program does not wait for them.
    """

    def __init__(
        self,
        restorer: RestoresPhotos,
        sources: Iterable[Any],
        ahead: int,
        weight: Callable[[Any], float] = lambda source: 0.0,
    ) -> None:
        """`weight`: of a source, in megapixels of its result."""
        self._restorer, self._weight, self._ahead = restorer, weight, ahead
        self._sources = iter(sources)
        self._next: list[Any] = []  # taken from the sources, but too heavy yet
        self._work: deque[tuple[Any, float, Future[RestoredPhoto]]] = deque()
        self._written = 0.0  # weight of what the caller has
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def restore(self, photo: Any, options: RestoreOptions, **also: Any) -> RestoredPhoto:
        """The result of the next source, which must be `photo`; raises what its work raised."""
        self._written = 0.0
        self._start(options, also)
        source, weight, future = self._work[0]
        while source != photo and isinstance(source, Page) and source.index:
            self._work.popleft()  # a page before it failed, and with it its photo
            self._start(options, also)
            source, weight, future = self._work[0]
        if source != photo:
            raise ValueError(f"{photo} was asked for before {source}, which comes first")
        result: RestoredPhoto | None = None
        try:
            result = future.result()
        finally:
            self._work.popleft()
            self._written = weight
            self._start(options, also)  # the next ones, while the caller writes this one
        return result

    def close(self, wait: bool = True) -> None:
        """Cancel what was not asked for; with `wait` until the threads have noticed."""
        self._closed.set()
        for thread in self._threads if wait else ():
            thread.join()

    def _start(self, options: RestoreOptions, also: dict[str, Any]) -> None:
        while len(self._work) < self._ahead and not self._closed.is_set():
            try:
                self._next = self._next or [next(self._sources)]
            except StopIteration:
                return
            weight = self._weight(self._next[0])
            others = self._written + sum(work[1] for work in self._work)
            if others and others + weight > MEGAPIXELS_AT_ONCE:
                return
            source = self._next.pop()
            future: Future[RestoredPhoto] = Future()
            self._work.append((source, weight, future))
            thread = threading.Thread(
                target=self._do, args=(source, options, also, future), name="restore", daemon=True
            )
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]
            thread.start()

    def _do(
        self,
        source: Any,
        options: RestoreOptions,
        also: dict[str, Any],
        future: Future[RestoredPhoto],
    ) -> None:
        try:
            result = self._restorer.restore(source, options, cancel=self._closed.is_set, **also)
        except BaseException as error:  # raised again where the result is asked for
            future.set_exception(error)
        else:
            future.set_result(result)


def run_overlapped(
    restorer: RestoresPhotos,
    jobs: Sequence[Job],
    options: RunOptions,
    watch: Watch | None = None,
    ahead: int = CPU_AHEAD,
    report: Callable[[Mapping[str, Any]], None] | None = None,
) -> Iterator[Outcome]:
    """`run_jobs`, with `ahead` photos read, restored and pasted while another one is written.

    Outcomes come in the order of the jobs and photos are written in the caller's thread, as by
    `run_jobs`: an interruption leaves neither a half-written photo nor one without its line in the
    report. `ahead` 0 is `run_jobs`.
    """
    if ahead < 1:
        yield from run_jobs(cast(Restorer, restorer), jobs, options, watch, report=report)
        return
    counted: dict[Path, list[Path | Page]] = {}

    def pages(job: Job) -> list[Path | Page]:
        """The pages as they were counted first: both sides must ask for the same."""
        if job.source not in counted:
            counted[job.source] = pages_of(job)
        return counted[job.source]

    def weight(source: Path | Page) -> float:
        width, height = size_of(source.path if isinstance(source, Page) else source)
        return width * height * (1 + options.restore.scale**2) / 1e6

    sources = (source for job in jobs for source in pages(job))
    working = WorkingAhead(restorer, sources, ahead, weight)
    finished = False
    try:
        yield from run_jobs(cast(Restorer, working), jobs, options, watch, pages, report)
        finished = True
    finally:
        # Whoever interrupts a run does not wait for a network; at the end nothing is left to do,
        # but threads in native code must not outlive Python.
        working.close(wait=finished)


_IGNORED_SHOWN = 10
_UNTOLD = ("hidden", "no photo by its name")
"""Reasons that are only counted."""


def faces_line(outcomes: Sequence[Outcome]) -> str | None:
    """Such as "faces: 7 restored, 2 already good; identity 0.81 on average, least 0.52 (a.jpg)".

    None where no face was found.
    """
    faces = [
        (face, outcome.job.source.name)
        for outcome in outcomes
        for face in outcome.record.get("faces", [])
    ]
    if not faces:
        return None
    count = Counter(face["status"] for face, _ in faces)
    said = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in count.items())
    measured = [
        (face["identity"], name)
        for face, name in faces
        if face.get("identity") is not None and face.get("strength")
    ]
    if not measured:
        return f"faces: {said}"
    least, where = min(measured)
    mean = sum(value for value, _ in measured) / len(measured)
    return f"faces: {said}; identity {mean:.2f} on average, least {least:.2f} ({where})"


def absent_line(outcomes: Sequence[Outcome]) -> str | None:
    """The note that identity was not measured, said once for all photos; None where it was."""
    for outcome in outcomes:
        for note in outcome.record.get("notes", []):
            if note.startswith("identity was not measured"):
                return str(note)
    return None


def ignored_lines(walk: Walk) -> list[str]:
    """The files that a user may have meant as photos and that are left aside, with the reason."""
    told = [f"{path}: ignored: {why}" for path, why in walk.ignored if why not in _UNTOLD]
    more = len(told) - _IGNORED_SHOWN
    return told[:_IGNORED_SHOWN] + ([f"and {more} more such files ignored"] if more > 0 else [])
