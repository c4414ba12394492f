"""Preparing a training set: inputs found, crops written, a journal to resume by, a report."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import re
import tarfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from restore.data.prepare.crops import (
    REASONS,
    THUMBNAIL,
    Dropped,
    FaceTools,
    PhotoResult,
    PrepareSettings,
    prepare_photo,
)
from restore.data.stores import (
    IMAGE_SUFFIXES,
    RECORD_SUFFIX,
    LmdbWriter,
    Store,
    encode_image,
    open_store,
)
from restore.errors import InputError
from restore.images.formats import PHOTO_SUFFIXES


@dataclass(frozen=True)
class PhotoPlace:
    """Where a photo lies: a file, or a stretch of a tar. name: unique in the run, for reports."""

    name: str
    key: str
    path: str
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """The file's bytes."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                return file.read() if self.size is None else file.read(self.size)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error


def find_photos(paths: Sequence[str | Path]) -> list[PhotoPlace]:
    """Photos of all paths, in order of names; a name that two paths share is refused.

    Keys are names without extension, other characters than letters, digits, `_`, `-` and `/`
    replaced (BasicSR cuts keys at a dot); where that makes two alike, a piece of the name's SHA-1
    is added to both.
    """
    found: dict[str, tuple[str, int, int | None]] = {}
    for path in map(Path, paths):
        for name, place in _photos_of(path):
            if name in found:
                raise InputError(
                    f"{name!r} is in {found[name][0]} and in {place[0]}; prepare them one by one"
                )
            found[name] = place
    if not found:
        raise InputError(
            f"no photo in {', '.join(map(str, paths))}; expected {', '.join(PHOTO_SUFFIXES)}"
        )
    names = sorted(found)
    plain = {name: _plain_key(name) for name in names}
    times = Counter(plain.values())
    return [
        PhotoPlace(
            name,
            plain[name] if times[plain[name]] == 1 else f"{plain[name]}-{_digest(name)}",
            *found[name],
        )
        for name in names
    ]


def _photos_of(path: Path) -> list[tuple[str, tuple[str, int, int | None]]]:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if _is_photo(p.name) and p.is_file())
        return [(p.relative_to(path).as_posix(), (str(p), 0, None)) for p in files]
    if path.suffix == ".tar":
        try:
            with tarfile.open(path, "r:") as tar:
                members = [m for m in tar if m.isfile() and _is_photo(m.name)]
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{path} cannot be read as an uncompressed tar: {error}") from error
        return [(m.name.removeprefix("./"), (str(path), m.offset_data, m.size)) for m in members]
    if path.is_file():
        return [(path.name, (str(path), 0, None))]
    raise InputError(f"{path} does not exist; expected a folder, tar or photo")


def _is_photo(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return last.lower().endswith(PHOTO_SUFFIXES) and not last.startswith(".")


def _plain_key(name: str) -> str:
    stem = name.rsplit(".", 1)[0]
    # two hyphens stand before the number of a photo's further faces
    return re.sub(r"-+", "-", re.sub(r"[^0-9A-Za-z_/-]", "-", stem)).strip("-") or "photo"


def _digest(name: str) -> str:
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8]


class FolderWriter:
    """`NAME.png` and `NAME.json` for each crop; what was put is there at once."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def done(self) -> frozenset[str]:
        """Keys of the crops that are there."""
        files = (p for p in self.path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        return frozenset(p.relative_to(self.path).with_suffix("").as_posix() for p in files)

    def put(
        self, name: str, data: bytes, shape: tuple[int, ...], level: int, record: bytes | None
    ) -> None:
        """Store a crop's file bytes under `name`, with its record."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if record is not None:
            _write(path.with_suffix(RECORD_SUFFIX), record)
        _write(path, data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


def open_writer(path: str | Path) -> LmdbWriter | FolderWriter:
    """An LMDB for names that end in .lmdb, else a folder."""
    return LmdbWriter(path) if Path(path).suffix == ".lmdb" else FolderWriter(path)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(data)
    temporary.replace(path)


class Journal:
    """`photos.jsonl` and `settings.json` in the report folder of a set.

    A line is written after the crops of its photo are safe in the set, so a preparation that was
    cut off does that photo again and loses nothing.
    """

    def __init__(self, folder: str | Path, settings: PrepareSettings) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_settings(settings)
        self.path = self.folder / "photos.jsonl"
        self.entries = self._read()

    @property
    def done(self) -> frozenset[str]:
        """Names of the photos that are done."""
        return frozenset(entry["photo"] for entry in self.entries)

    def add(self, results: Sequence[PhotoResult]) -> None:
        """Note photos whose crops are safe."""
        entries = [_entry(result) for result in results]
        with self.path.open("a", encoding="utf-8") as file:
            for entry in entries:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.entries += entries

    def _check_settings(self, settings: PrepareSettings) -> None:
        path, mine = self.folder / "settings.json", settings.to_plain()
        if not path.is_file():
            path.write_text(json.dumps(mine, indent=1) + "\n", "utf-8")
            return
        before = json.loads(path.read_text("utf-8"))
        other = sorted(k for k in mine.keys() | before.keys() if mine.get(k) != before.get(k))
        if other:
            shown = ", ".join(f"{k}: {before.get(k)} then, {mine.get(k)} now" for k in other)
            raise InputError(
                f"{self.folder.name} belongs to a set with other settings ({shown}); give the same "
                "to go on, or another --out"
            )

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        text = self.path.read_text("utf-8")
        whole, _, cut = text.rpartition("\n")
        if cut:
            # the last line was cut off while it was written
            self.path.write_text(whole + "\n" if whole else "", "utf-8")
        return [json.loads(line) for line in whole.splitlines() if line]


def _entry(result: PhotoResult) -> dict[str, Any]:
    return {
        "photo": result.photo,
        "kept": [
            {
                "key": kept.key,
                "source": kept.record.source,
                "score": round(kept.record.score, 4),
                "sharpness": round(kept.record.sharpness, 3),
            }
            for kept in result.kept
        ],
        "dropped": [
            {"face": one.face, "reason": one.reason, "detail": one.detail} for one in result.dropped
        ],
    }


SHEET_ROWS, SHEET_COLUMNS = 6, 12
_CAPTION = 14


def write_report(folder: Path, entries: Sequence[dict[str, Any]]) -> str:
    """Write report.md and dropped.csv from the journal's entries; returns the text of report.md."""
    kept = [one for entry in entries for one in entry["kept"]]
    dropped = [(entry["photo"], one) for entry in entries for one in entry["dropped"]]
    with (folder / "dropped.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "face", "reason", "detail"])
        rows.writerows(
            [photo, "" if one["face"] is None else one["face"], one["reason"], one["detail"]]
            for photo, one in dropped
        )
    lines = [
        "# Preparation of a training set",
        "",
        f"{len(entries)} photos, {len(kept)} crops kept, {len(dropped)} faces or photos dropped.",
        "",
        "| dropped for | count | meaning |",
        "|---|---|---|",
    ]
    reasons = Counter(one["reason"] for _, one in dropped)
    lines += [f"| {name} | {count} | {REASONS[name]} |" for name, count in reasons.most_common()]
    lines += ["", "| source | crops |", "|---|---|"]
    sources = Counter(one["source"] for one in kept)
    lines += [f"| {name or '(none)'} | {count} |" for name, count in sources.most_common()]
    if kept:
        lines += ["", "| of kept crops | 5 % | median | 95 % |", "|---|---|---|---|"]
        for name in ("score", "sharpness"):
            low, middle, high = np.percentile([one[name] for one in kept], [5, 50, 95])
            lines.append(f"| {name} | {low:.2f} | {middle:.2f} | {high:.2f} |")
    text = "\n".join(lines) + "\n"
    (folder / "report.md").write_text(text, "utf-8")
    return text


def write_contact_sheet(path: Path, store: Store, seed: int = 0) -> None:
    """A picture of up to 72 crops of a set, drawn at random, in order of keys."""
    rng = np.random.default_rng(seed)
    count = min(len(store.keys), SHEET_ROWS * SHEET_COLUMNS)
    keys = sorted(rng.choice(np.array(store.keys), count, replace=False).tolist())
    thumbnails = [
        cv2.resize(store.image(key), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        for key in keys
    ]
    _write_sheet(path, thumbnails, keys)


def write_dropped_sheet(path: Path, dropped: Sequence[Dropped]) -> None:
    """The same of up to 72 dropped crops, with their reasons; nothing where there is none."""
    shown = [one for one in dropped if one.thumbnail is not None]
    shown = shown[: SHEET_ROWS * SHEET_COLUMNS]
    if shown:
        captions = [f"{one.reason}: {one.detail.split(' ')[0]}" for one in shown]
        _write_sheet(path, [one.thumbnail for one in shown if one.thumbnail is not None], captions)


def _write_sheet(path: Path, thumbnails: Sequence[np.ndarray], captions: Sequence[str]) -> None:
    rows = -(-len(thumbnails) // SHEET_COLUMNS)
    columns = min(len(thumbnails), SHEET_COLUMNS)
    high = THUMBNAIL + _CAPTION
    sheet = np.full((rows * high, columns * THUMBNAIL, 3), 255, np.uint8)
    for i, (picture, caption) in enumerate(zip(thumbnails, captions, strict=True)):
        y, x = (i // columns) * high, (i % columns) * THUMBNAIL
        sheet[y : y + THUMBNAIL, x : x + THUMBNAIL] = picture
        text = caption.encode("ascii", "replace").decode()[-16:]
        place = (x + 2, y + high - 4)
        cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.3, (0, 0, 0), 1, cv2.LINE_AA)
    path.write_bytes(encode_image(sheet, "jpg", 90))


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
