"""A run over many photos: each restored, written and reported by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from restore.errors import RestoreError
from restore.images.ai_label import ai_labelled
from restore.images.files_write import WriteOptions, write_photo
from restore.images.formats import format_of
from restore.images.metadata import Metadata
from restore.pipeline.names import Job
from restore.pipeline.options import Fidelity, TrustOptions
from restore.pipeline.report import photo_record
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import FaceChoice, PhotoStatus, RestoredPhoto

if TYPE_CHECKING:
    from restore.trust.identity import References

Watch = Callable[[Job, RestoredPhoto | None, Mapping[str, Any]], None]


@dataclass(frozen=True)
class RunOptions:
    """How the photos of a run are restored and written."""

    scale: float = 2.0
    fidelity: Fidelity = None
    aligned: bool = False
    keep_gray: bool = True
    choice: FaceChoice = field(default_factory=FaceChoice)
    write: WriteOptions = field(default_factory=WriteOptions)
    ai_label: bool = True
    """Say in the XMP of restored photos that a model made some of it (IPTC digitalSourceType)."""
    trust: TrustOptions = field(default_factory=TrustOptions)
    references: References | None = None
    """Other photos of the person: of several fidelities the closest face is taken."""


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


def is_done(job: Job, aligned: bool = False) -> bool:
    """Whether an earlier run finished this photo: its last file is written last and whole."""
    return (job.restored(0) if aligned else job.photo).is_file()


def run_jobs(
    restorer: Restorer, jobs: Sequence[Job], options: RunOptions, watch: Watch | None = None
) -> Iterator[Outcome]:
    """Restore photo after photo, yielding each outcome; a photo that fails stops no other.

    `watch(job, result, record)` is called after each photo, with None for a result where there is
    none. It sees the pictures, which are not kept: an outcome holds numbers only.
    """
    for job in jobs:
        yield _run_job(restorer, job, options, watch)


def _run_job(restorer: Restorer, job: Job, options: RunOptions, watch: Watch | None) -> Outcome:
    try:
        result = restorer.restore(
            job.source,
            scale=options.scale,
            fidelity=options.fidelity,
            aligned=options.aligned,
            keep_gray=options.keep_gray,
            choice=options.choice,
            trust=options.trust,
            references=options.references,
        )
        face_files, notes = _write(job, result, options)
    except RestoreError as error:
        return _failed(job, str(error), watch)
    # The border between photos: whatever one of them sets off, the others go on.
    except Exception as error:
        return _failed(job, f"{job.source}: {type(error).__name__}: {error}", watch)
    record = _head(job, result.status, result.reason)
    record["output"] = None if options.aligned else str(job.photo)
    record |= photo_record(result, face_files)
    record["notes"] += notes
    if watch is not None:
        watch(job, result, record)
    restored = sum(face.changed for face in result.faces)
    return Outcome(job, result.status, result.reason, restored, record)


def _write(
    job: Job, result: RestoredPhoto, options: RunOptions
) -> tuple[dict[int, str], tuple[str, ...]]:
    """Write crops, comparisons and, last, the photo; the files of the faces and the notes."""
    files: dict[int, str] = {}
    notes: tuple[str, ...] = ()
    label = ai_labelled(Metadata(), 1, format_of(".png"))[0] if options.ai_label else None
    for index, face in enumerate(result.faces):
        if face.crop is None or face.restored is None:
            continue
        number = len(files)
        write_photo(job.crop(number), face.crop)
        both = np.concatenate([face.crop, face.restored], axis=1)
        write_photo(job.comparison(number), both, label if face.changed else None)
        if options.aligned:
            notes = result.save(job.restored(number), options.write, ai_label=options.ai_label)
        else:
            write_photo(job.restored(number), face.restored, label if face.changed else None)
        files[index] = str(job.restored(number))
    if not options.aligned:
        notes = result.save(job.photo, options.write, ai_label=options.ai_label)
    return files, notes


def _failed(job: Job, reason: str, watch: Watch | None) -> Outcome:
    record = _head(job, "error", reason) | {"output": None}
    if watch is not None:
        watch(job, None, record)
    return Outcome(job, "error", reason, 0, record)


def _head(job: Job, status: str, reason: str | None) -> dict[str, Any]:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"input": str(job.source), "status": status, "reason": reason, "time": now}
