"""A run over many photos: each restored, written and reported by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from restore.errors import InputError, RestoreError
from restore.images.files import Page, page_count
from restore.images.formats import format_of
from restore.images.metadata import Metadata, ai_labelled
from restore.images.write import TiffPages, WriteOptions, atomic_file, write_photo
from restore.pipeline.names import Job
from restore.pipeline.options import RestoreOptions
from restore.pipeline.report import identity_of, photo_record
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import PhotoStatus, RestoredPhoto

if TYPE_CHECKING:
    from restore.trust.identity import References

Watch = Callable[[Job, Path | Page | None, RestoredPhoto | None, Mapping[str, Any]], None]


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
) -> Iterator[Outcome]:
    """Restore photo after photo, yielding each outcome; a photo that fails stops no other.

    `watch(job, source, result, record)` is called for each picture (the photo, or a page of it) as
    it is done, with its own record, and after each photo with None, None and the record of the
    whole. It sees the pictures, which are not kept: an outcome holds numbers only.
    """
    for job in jobs:
        yield _run_job(restorer, job, options, watch, pages)


def _run_job(
    restorer: Restorer,
    job: Job,
    options: RunOptions,
    watch: Watch | None,
    pages: Callable[[Job], list[Path | Page]],
) -> Outcome:
    identity = identity_of(job.source)  # before it is read: a change meanwhile is seen next time
    head = {"source": identity, "options": options.key, "name": job.name}
    try:
        results, record, changed = _write(restorer, job, options, pages(job), watch)
    except RestoreError as error:
        return _failed(job, str(error), watch, head)
    # The border between photos: whatever one of them sets off, the others go on.
    except Exception as error:
        return _failed(job, f"{job.source}: {type(error).__name__}: {error}", watch, head)
    status, reason = worst_status(results)
    record = _head(job, status, reason) | head | record
    record |= {"status": status, "reason": reason}
    if watch is not None:
        watch(job, None, None, record)
    return Outcome(job, status, reason, changed, record)


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
    watch: Watch | None,
) -> tuple[list[tuple[PhotoStatus, str | None]], dict[str, Any], int]:
    """Restore and write a photo page by page: statuses, what its record holds, and how many faces
    are others now.

    Crops and comparisons come first and the photo last. Several pages go into one TIFF where the
    result is a TIFF, else each into a file of its own.
    """
    known = job.earlier is not None
    several = len(sources) > 1
    statuses: list[tuple[PhotoStatus, str | None]] = []
    record: dict[str, Any] = {}
    outputs: list[str] = []
    changed = 0
    with ExitStack() as closing:
        tiff: TiffPages | None = None
        if several and format_of(job.ending).name == "TIFF":
            tiff = TiffPages(closing.enter_context(atomic_file(job.photo, known)), options.write)
        for index, source in enumerate(sources):
            result = restorer.restore(source, options.restore, references=options.references)
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
            if watch is not None:
                place = {"page": index + 1, "pages": len(sources)} if several else {}
                watch(job, source, result, {"input": str(job.source)} | one | place)
            record = _joined(record, one)
    if several:
        record["pages"] = len(sources)
    record["output"] = outputs[0] if outputs else str(job.result)
    if len(outputs) > 1:
        record["outputs"] = outputs
    return statuses, record, changed


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


def _failed(job: Job, reason: str, watch: Watch | None, head: Mapping[str, Any]) -> Outcome:
    record = _head(job, "error", reason) | dict(head) | {"output": None}
    if watch is not None:
        watch(job, None, None, record)
    return Outcome(job, "error", reason, 0, record)


def _head(job: Job, status: str, reason: str | None) -> dict[str, Any]:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"input": str(job.source), "status": status, "reason": reason, "time": now}
