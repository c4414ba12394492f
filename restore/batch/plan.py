"""What there is to do: photos under a prefix, the names of their results, and what is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from restore.batch.prefix import Prefix
from restore.images.formats import PHOTO_SUFFIXES
from restore.pipeline.names import Job, plan_jobs
from restore.pipeline.walk import Source

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
) -> Plan:
    """Plan a run; with `again` what has results is done anew.

    The names are those of the command line, so collisions (a.jpg, a.png) are settled here, where
    all names are known. A photo counts as done when its result is there: it is written last.
    Results under the source's own prefix are not taken for photos.
    """
    names = source.names()
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
    finished = set() if again else set(target.names())
    todo = tuple(row_of(job) for job in jobs if job.photo.as_posix() not in finished)
    return Plan(todo, len(jobs) - len(todo), len(names) - len(photos))


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
    return [record for record in records if record["status"] not in ("restored", "no_face")]
