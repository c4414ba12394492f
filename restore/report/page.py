"""The HTML file of a run, written photo by photo: it is whole after each of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from restore.errors import InputError
from restore.images.photo import Photo
from restore.pipeline.results import RestoredPhoto
from restore.report.frame import MARK, TAIL, now, page_head
from restore.report.section import photo_section
from restore.report.summary import SUMMARY, SUMMARY_BYTES, Counts, summary_html
from restore.report.thumbnails import Thumbnails, thumbnails_for
from restore.report.words import table


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
        self.path, self.sizes = path, sizes or thumbnails_for(photos)
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
        """Append a photo: see `photo_section`. InputError where the disk does not take it."""
        section = photo_section(record, before, result, self.sizes)
        self._counts.add(record)
        try:
            self._append(section)
            self._write_summary()
        except OSError as error:
            raise self._unwritable(error) from error

    def _begin(self, settings: Mapping[str, Any]) -> None:
        # A new file: whoever has the old page open keeps it.
        self.path.unlink(missing_ok=True)
        self._file = self.path.open("w+b")
        head, rest = page_head(settings)
        self._summary_at = len(head)
        self._file.write(head + b" " * SUMMARY_BYTES + rest)
        self._tail_at = self._file.tell()
        self._file.write(TAIL)
        self._write_summary()

    def _continue(self, settings: Mapping[str, Any]) -> bool:
        """Take up the page of an earlier run; False where there is none that is whole."""
        if not self.path.is_file():
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
