"""The HTML page of a run: its frame, summary, and how it grows photo by photo."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from restore import __version__
from restore.errors import InputError
from restore.images.files import Page, read_photo, read_regular
from restore.images.photo import Limits, Photo
from restore.pipeline.names import Job
from restore.pipeline.report import plain
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredPhoto
from restore.pipeline.run import RunOptions, Watch
from restore.report.section import (
    STATUS_KINDS,
    Thumbnails,
    photo_section,
    picture_section,
    reason_of,
    spoken,
    table,
    text,
    thumbnails_for,
)

MARK = b"<!-- restore report 1 -->"
TAIL = (
    b"\n</main>\n<footer><p class=soft>Made by restore, offline.</p></footer>\n</body>\n</html>\n"
)
_BAR = """<button data-only="" aria-pressed="true">All</button>
<button data-only="good" aria-pressed="false">Restored</button>
<button data-only="other" aria-pressed="false">Without a face</button>
<button data-only="bad" aria-pressed="false">Problems</button>
<button id="boxes" aria-pressed="false">Number the faces</button>
<input id="find" type="search" placeholder="Find a file" aria-label="Find a file by its name">
<button id="save">Save the numbers (JSON)</button>"""
_WITHOUT_SCRIPT = """
.compare { display: flex; aspect-ratio: auto !important; max-width: none !important; }
.compare .before { position: static; clip-path: none; order: -1; }
.compare img { width: 50%; height: auto; }
.compare input, .compare .knob, .compare::after, .bar { display: none; }
"""
HONEST = (
    "Restored detail is plausible, not evidence. A generative model fills in what a photo no "
    "longer holds: eyes, teeth, wrinkles and skin of a damaged face are invented. Do not use these "
    "pictures to identify or to judge a person."
)
# No request can leave the page, whatever a file name or a metadata field may hold.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def now() -> str:
    """Date and time in UTC, to the minute."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def page_file(name: str) -> str:
    """The text of a style sheet or script that lies in this folder."""
    return resources.files("restore.report").joinpath(name).read_text("utf-8")


def page_head(settings: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What stands before and behind the room of the summary."""
    style = page_file("page.css") + page_file("faces.css")
    script = page_file("page.js") + page_file("faces.js")
    head = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{MARK.decode()}\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>restore: report of {now()}</title>\n<style>\n{style}</style>\n"
        f"<noscript><style>{_WITHOUT_SCRIPT}</style></noscript>\n"
        f"</head>\n<body>\n<header>\n<h1>Restored photos</h1>\n<p class=soft>{now()}</p>\n"
        f'<p class="honest">{HONEST}</p>\n'
    )
    rest = (
        f"\n<details><summary>Settings and versions</summary>{table(settings.items())}</details>\n"
        "</header>\n<main>\n"
        f'<div class="bar">{_BAR}</div>\n'
        f"<script>\n{script}</script>\n"
    )
    return head.encode("utf-8"), rest.encode("utf-8")


SUMMARY = b"<!-- summary -->"
SUMMARY_BYTES = 65_536
"""The summary is rewritten in place after each photo; so much room is kept for it."""


@dataclass
class Counts:
    """What the summary tells, and how a later run goes on."""

    photos: dict[str, int] = field(default_factory=dict)
    """Photos by status."""
    faces: dict[str, int] = field(default_factory=dict)
    """Faces by status."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of the first photos that failed, as many as there is room for."""
    more_failures: int = 0
    """Failed photos beyond these."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a photo by its record."""
        status = str(record["status"])
        self.photos[status] = self.photos.get(status, 0) + 1
        for name, count in Counter(str(face["status"]) for face in record.get("faces", ())).items():
            self.faces[name] = self.faces.get(name, 0) + count
        if STATUS_KINDS.get(status) == "bad":
            said = (str(record["input"])[-200:], (reason_of(record) or status)[:200])
            kept = [*self.failures, said]
            # They stand there twice, and escaping makes up to six characters of one.
            if len(json.dumps(kept)) < SUMMARY_BYTES // 14:
                self.failures = kept
            else:
                self.more_failures += 1


def summary_html(counts: Counts) -> str:
    """Counts of photos and faces, what failed, and the counts as JSON for a later run."""
    total = sum(counts.photos.values())
    items = [f"<li><b>{total}</b>photo{'' if total == 1 else 's'}</li>"]
    for prefix, counted in (("", counts.photos), ("faces ", counts.faces)):
        items += [
            f"<li><b>{count}</b>{text(prefix + spoken(name))}</li>"
            for name, count in counted.items()
        ]
    failed = ""
    if counts.failures:
        lines = "".join(
            f"<li><bdi>{text(name)}</bdi>: {text(reason)}</li>" for name, reason in counts.failures
        )
        if counts.more_failures:
            lines += f"<li>and {counts.more_failures} more; press Problems</li>"
        title = '<summary class="problem">What failed</summary>'
        failed = f"<details open>{title}<ul>{lines}</ul></details>"
    state = json.dumps(asdict(counts)).replace("<", "\\u003c").replace(">", "\\u003e")
    return (
        f'<ul class="counts">{"".join(items)}</ul>{failed}'
        f'<script type="application/json" id="state">{state}</script>'
    )


class ReportPage:
    """An HTML page that grows by one photo at a time; use it in a `with` block.

    Memory is that of one photo. The file is complete HTML after each photo, so a run that is
    interrupted leaves a page that can be opened; `go_on` continues it.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        photos: int,
        go_on: bool = False,
        sizes: Thumbnails | None = None,
    ) -> None:
        """`settings`: shown as they are, name and value; `photos`: how many will come, which
        decides on the size of the pictures; `go_on`: append to the page of an earlier run."""
        self.path, self.photos, self.sizes = path, photos, sizes or thumbnails_for(photos)
        self._counts = Counts()
        self._file: IO[bytes] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (go_on and self._continue(settings)):
                self._begin(settings)
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> ReportPage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(
        self, record: Mapping[str, Any], before: Photo | None, result: RestoredPhoto | None
    ) -> None:
        """Append a photo of one picture: its record, it as it was read and as it is now; None
        where there is none. InputError where the disk does not take it."""
        self.add_pictures(record, [self.picture(record, before, result)] if result else [])

    def picture(
        self, record: Mapping[str, Any], before: Photo | None, result: RestoredPhoto
    ) -> str:
        """The HTML of a photo or, with its own record, of a page of one, for `add_pictures`."""
        pages = int(record.get("pages", 1))
        sizes = self.sizes if pages == 1 else thumbnails_for(self.photos + pages)
        return picture_section(record, before, result, sizes)

    def add_pictures(self, record: Mapping[str, Any], pictures: Sequence[str]) -> None:
        """Append a photo of several pages: the record of the whole, and the HTML of each."""
        section = photo_section(record, pictures)
        self._counts.add(record)
        try:
            self._append(section)
            self._write_summary()
        except OSError as error:
            raise self._unwritable(error) from error

    def _begin(self, settings: Mapping[str, Any]) -> None:
        if os.path.lexists(self.path):
            if self.path.is_symlink() or not self._is_ours():
                raise InputError(
                    f"{self.path} is there already and is no page of this program; choose another "
                    "file with --report"
                )
            self.path.unlink()  # a new file: whoever has the old page open keeps it
        self._file = self.path.open("x+b")
        head, rest = page_head(settings)
        self._summary_at = len(head)
        self._file.write(head + b" " * SUMMARY_BYTES + rest)
        self._tail_at = self._file.tell()
        self._file.write(TAIL)
        self._write_summary()

    def _is_ours(self) -> bool:
        try:
            return MARK in read_regular(self.path)[:4096]
        except InputError:
            return False

    def _continue(self, settings: Mapping[str, Any]) -> bool:
        """Take up the page of an earlier run; False where there is none that is whole."""
        if self.path.is_symlink() or not self.path.is_file():
            return False
        self._file = file = self.path.open("r+b")
        start = file.read(1 << 18)
        self._summary_at = start.find(SUMMARY)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(TAIL)))
        if MARK not in start or self._summary_at < 0 or file.read() != TAIL:
            file.close()
            return False
        summary = start[self._summary_at : self._summary_at + SUMMARY_BYTES]
        state = summary.partition(b'id="state">')[2].partition(b"</script>")[0]
        try:
            self._counts = Counts(**json.loads(state))
        except (ValueError, TypeError):
            file.close()
            return False
        self._tail_at = size - len(TAIL)
        self._append(
            f'<details class="soft"><summary>Continued {now()}</summary>'
            f"{table(settings.items())}</details>"
        )
        return True

    def _append(self, section: str) -> None:
        assert self._file is not None
        self._file.seek(self._tail_at)
        data = b"\n" + section.encode("utf-8")
        self._file.write(data + TAIL)
        self._file.flush()
        self._tail_at += len(data)

    def _write_summary(self) -> None:
        assert self._file is not None
        block = SUMMARY + summary_html(self._counts).encode("utf-8")
        assert len(block) <= SUMMARY_BYTES, "failures are bounded by Counts.add"
        self._file.seek(self._summary_at)
        self._file.write(block.ljust(SUMMARY_BYTES))
        self._file.flush()

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path}: the report cannot be written: {error.strerror or error}; "
            "choose another file with --report"
        )


_PACKAGES = ("numpy", "opencv-python", "pillow", "onnxruntime", "openvino", "torch")


def run_settings(restorer: Restorer, options: RunOptions, model: str) -> dict[str, str]:
    """Model, options and versions of a run, as a page shows them."""
    settings: dict[str, Any] = {
        "model": model,
        "network runs in": f"{restorer.runtime.name}, crops of {restorer.crop_size} px",
        "detector": type(restorer.detector).__name__,
    }
    settings |= _flat(plain(options))
    settings |= {"restore": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            settings[package] = version(package)
        except PackageNotFoundError:
            continue
    return {name: "default" if value is None else str(value) for name, value in settings.items()}


@contextmanager
def run_page(
    path: Path | None,
    restorer: Restorer,
    options: RunOptions,
    model: str,
    photos: int,
    go_on: bool = False,
) -> Iterator[Watch | None]:
    """Open the page of a run and give what `run_jobs` calls; None where `path` is None."""
    if path is None:
        yield None
        return
    with ReportPage(path, run_settings(restorer, options, model), photos, go_on) as page:
        yield page_watch(page, Limits(options.restore.max_megapixels, 1.0, options.restore.strict))


def page_watch(page: ReportPage, limits: Limits | None = None) -> Watch:
    """A callback for `run_jobs` that puts each photo on the page, with all of its own pages."""
    pictures: list[str] = []

    def watch(
        job: Job,
        source: Path | Page | None,
        result: RestoredPhoto | None,
        record: Mapping[str, Any],
    ) -> None:
        if source is None or result is None:
            page.add_pictures(record, pictures)
            pictures.clear()
            return
        try:
            # Read once more, so that a run without a page keeps no second copy.
            page_of = source if isinstance(source, Page) else Page(source, 0)
            before = read_photo(page_of.path, limits, page_of.index)
        except InputError:  # gone since; the page shows its numbers
            before = None
        pictures.append(page.picture(record, before, result))

    return watch


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
