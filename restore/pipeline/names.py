"""Output names: GFPGAN's folders, and no two photos that share a name."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from restore.errors import InputError
from restore.images.formats import WRITABLE_SUFFIXES, format_of
from restore.pipeline.walk import Source


@dataclass(frozen=True)
class Job:
    """A photo and the names of what is made of it."""

    source: Path
    output: Path
    folder: PurePath
    name: str
    """Stem of all its files, of no other photo in this folder."""
    ending: str
    """Suffix of the restored photo, such as ".jpg"."""
    tag: str = ""
    """Put behind the stem of what is restored: "_TAG"; empty for none."""

    @property
    def photo(self) -> Path:
        """The restored photo."""
        return self._in("restored_imgs", f"{self.name}{self.tag}{self.ending}")

    def crop(self, index: int) -> Path:
        """What went into the network for face `index`."""
        return self._in("cropped_faces", f"{self.name}_{index:02d}.png")

    def restored(self, index: int) -> Path:
        """What came out of it."""
        return self._in("restored_faces", f"{self.name}_{index:02d}{self.tag}.png")

    def comparison(self, index: int) -> Path:
        """Both side by side."""
        return self._in("cmp", f"{self.name}_{index:02d}.png")

    def _in(self, kind: str, name: str) -> Path:
        return self.output / kind / self.folder / name


def plan_jobs(
    sources: Sequence[Source], output: Path, ext: str = "auto", suffix: str | None = None
) -> list[Job]:
    """Name the outputs of all photos of a run, which must be known together.

    `ext`: "auto" for each photo's own format (PNG where that cannot be written), or one such as
    "png". `suffix`: put behind the stems of what is restored. Photos of one folder whose stems are
    equal, also on file systems that ignore case, carry their own suffix in the name: a_jpg, a_png.
    Raises InputError for an ext that cannot be written or an output that would replace an input.
    """
    if ext != "auto":
        format_of("." + ext.lstrip("."))
    if suffix and (set(suffix) & set("/\\:\0") or suffix in (".", "..")):
        raise InputError(f"suffix {suffix!r} would change the folder; expected a part of a name")
    tag = f"_{suffix}" if suffix else ""
    counts = Counter(_key(source.folder, source.path.stem) for source in sources)
    taken = {key for key, count in counts.items() if count == 1}
    jobs = []
    for source in sources:
        name = source.path.stem
        if counts[_key(source.folder, name)] > 1:
            name = f"{name}_{source.path.suffix[1:].lower()}".rstrip("_")
            name = _free(source.folder, name, taken)
            taken.add(_key(source.folder, name))
        jobs.append(Job(source.path, output, source.folder, name, _ending(source.path, ext), tag))
    inputs = {os.path.realpath(job.source) for job in jobs}
    for job in jobs:
        if os.path.realpath(job.photo) in inputs:
            raise InputError(f"{job.photo} is an input: choose another output folder with -o")
    return jobs


def _ending(path: Path, ext: str) -> str:
    if ext != "auto":
        return "." + ext.lstrip(".").lower()
    return path.suffix if path.suffix.lower() in WRITABLE_SUFFIXES else ".png"


def _key(folder: PurePath, name: str) -> tuple[str, str]:
    return str(folder), unicodedata.normalize("NFC", name).casefold()


def _free(folder: PurePath, name: str, taken: set[tuple[str, str]]) -> str:
    candidate, number = name, 2
    while _key(folder, candidate) in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
