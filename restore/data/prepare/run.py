"""The preparation itself: photos through threads, crops into the set, a journal to resume by."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from restore.data.lmdb_files import LmdbWriter
from restore.data.prepare.face_tools import FaceTools
from restore.data.prepare.folder_writer import FolderWriter, open_writer
from restore.data.prepare.inputs import PhotoPlace, find_photos
from restore.data.prepare.journal import Journal
from restore.data.prepare.photo_job import Dropped, PhotoResult, prepare_photo
from restore.data.prepare.report import write_contact_sheet, write_dropped_sheet, write_report
from restore.data.prepare.settings import PrepareSettings
from restore.data.stores import open_store
from restore.errors import InputError

log = logging.getLogger(__name__)

CHUNK = 64
"""Photos between two commits: what is lost when a run is cut off."""
PNG_LEVEL = 1


def prepare(
    inputs: Sequence[str | Path],
    out: str | Path,
    settings: PrepareSettings,
    tools: FaceTools,
    workers: int = 1,
    limit: int | None = None,
) -> str:
    """Prepare a set and return the text of its report.

    out: NAME.lmdb or a folder. Beside it stands NAME.report with report.md, dropped.csv,
    photos.jsonl and the two sheets. Photos that the journal names are not done again.
    """
    out = Path(out)
    places = find_photos(inputs)
    folder = out.with_name(out.stem + ".report")
    journal = Journal(folder, settings)
    done = journal.done
    waiting = [place for place in places if place.name not in done]
    log.info("%d photos, %d of them done before", len(places), len(places) - len(waiting))
    waiting = waiting[:limit]
    writer = open_writer(out)
    examples: list[Dropped] = []
    started = time.monotonic()
    try:
        finished = _work(waiting, settings, tools, workers)
        for count, chunk in _chunks(finished):
            for result in chunk:
                _put(writer, result, settings)
                examples += result.dropped[: max(500 - len(examples), 0)]
            writer.flush()
            journal.add(chunk)
            speed = count / max(time.monotonic() - started, 1e-6)
            log.info("%d of %d photos, %.1f a second", count, len(waiting), speed)
    finally:
        writer.close()
    if any(entry["kept"] for entry in journal.entries):
        write_contact_sheet(folder / "contact_sheet.jpg", open_store(out))
    write_dropped_sheet(folder / "dropped_sheet.jpg", examples)
    return write_report(folder, journal.entries)


def _work(
    places: Iterable[PhotoPlace], settings: PrepareSettings, tools: FaceTools, workers: int
) -> Iterator[PhotoResult]:
    """Results in the order of the photos; decoding, networks and encoding all leave Python."""
    ahead: deque[Future[PhotoResult]] = deque()
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for place in places:
            ahead.append(pool.submit(_one, place, settings, tools))
            # bounded: photos must not pile up in memory where the set is written slowly
            if len(ahead) >= 4 * max(workers, 1):
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _one(place: PhotoPlace, settings: PrepareSettings, tools: FaceTools) -> PhotoResult:
    try:
        data = place.read()
    except InputError as error:
        return PhotoResult(place.name, (), (Dropped(place.name, None, "unreadable", str(error)),))
    return prepare_photo(place.name, place.key, data, settings, tools)


def _put(writer: FolderWriter | LmdbWriter, result: PhotoResult, settings: PrepareSettings) -> None:
    shape = (settings.size, settings.size, 3)
    for kept in result.kept:
        name = f"{kept.key}.{settings.encoding}"
        writer.put(name, kept.data, shape, PNG_LEVEL, kept.record.to_json())


def _chunks(results: Iterator[PhotoResult]) -> Iterator[tuple[int, list[PhotoResult]]]:
    """Chunks with the count of results so far."""
    count, chunk = 0, []
    for result in results:
        chunk.append(result)
        count += 1
        if len(chunk) == CHUNK:
            yield count, chunk
            chunk = []
    if chunk:
        yield count, chunk
