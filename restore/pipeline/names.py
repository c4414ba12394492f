"""Output names: GFPGAN's folders, and no two photos that share a name, in one run or in several."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from restore.errors import InputError, OptionError
from restore.images.formats import WRITABLE_SUFFIXES, format_of, written_suffix
from restore.pipeline.report import Ledger
from restore.pipeline.walk import KINDS, Source

_LONGEST = 255 - len("_page001_0000.png")
"""Bytes of a stem with its tag: what file systems take, less what is put behind it."""


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
    aligned: bool = False
    """The photo is one aligned crop, whose result is the restored crop."""
    file: Path | None = None
    """The one file that is written; None for GFPGAN's folders."""
    earlier: Mapping[str, Any] | None = field(default=None, compare=False)
    """The record of an earlier run whose result for this source is there; it may be replaced."""

    @property
    def photo(self) -> Path:
        """The restored photo."""
        if self.file is not None:
            return self.file
        return self._in("restored_imgs", f"{self.name}{self.tag}{self.ending}")

    @property
    def result(self) -> Path:
        """What is written last: the photo, or the restored crop of an aligned one."""
        return self.restored(0) if self.aligned and self.file is None else self.photo

    def page(self, index: int) -> Path:
        """The restored page `index` where each has a file of its own."""
        return self.photo.with_stem(f"{self.photo.stem}_page{index + 1:02d}")

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
    sources: Sequence[Source],
    output: Path,
    ext: str = "auto",
    suffix: str | None = None,
    ledger: Ledger | None = None,
    aligned: bool = False,
) -> list[Job]:
    """Name the outputs of all photos of a run, which must be known together.

    `ext`: "auto" for each photo's own format (PNG where that cannot be written), or one such as
    "png". `suffix`: put behind the stems of what is restored. Photos of one folder whose stems are
    equal, also on file systems that ignore case, carry their own suffix in the name: a_jpg, a_png.
    `ledger`: what earlier runs wrote to `output`: a photo keeps the name it had then, no photo gets
    the name of another one, nor that of a file that no run wrote. Names that are too long for a
    file system are cut, each in its own way.
    Raises InputError for an ext that cannot be written or an output that would replace an input.
    """
    if ext != "auto":
        format_of("." + ext.lstrip("."))
    if suffix and (set(suffix) & set("/\\:\0") or suffix in (".", "..")):
        raise InputError(f"suffix {suffix!r} would change the folder; expected a part of a name")
    tag = f"_{suffix}" if suffix else ""
    if len(os.fsencode(tag)) > 100:
        raise InputError(f"suffix has {len(os.fsencode(tag))} bytes; expected at most 100")
    ledger = ledger or Ledger()
    counts = Counter(_key(source.folder, source.path.stem) for source in sources)
    former = [ledger.name_of(source.path, output / KINDS[0] / source.folder) for source in sources]
    taken = {_key(s.folder, name) for s, name in zip(sources, former, strict=True) if name}
    taken |= {_key(PurePath(folder), name) for folder, name in ledger.names_in(output, sources)}
    jobs = []
    for source, before in zip(sources, former, strict=True):
        ending = written_suffix(source.path) if ext == "auto" else "." + ext.lstrip(".").lower()
        stem, alone = source.path.stem, counts[_key(source.folder, source.path.stem)] == 1
        if not alone:
            stem = f"{stem}_{source.path.suffix[1:].lower()}".rstrip("_")
        name, number = before or _fitting(stem, tag), 1
        while True:
            job = Job(source.path, output, source.folder, name, ending, tag, aligned)
            earlier = ledger.earlier(source.path, job.result, job.page(0))
            key, own = _key(source.folder, name), alone and number == 1
            ours = key not in taken and (own or counts[key] != 1)
            if before or (ours and (earlier is not None or not os.path.lexists(job.result))):
                break
            number += 1
            name = _fitting(f"{stem}_{number}", tag)
        taken.add(key)
        jobs.append(replace(job, earlier=earlier))
    _check_inputs(jobs)
    return jobs


def single_file(
    sources: Sequence[Source], given: str | Path, overwrite: bool = False
) -> Job | None:
    """The job of `-o FILE`: one photo to one file; None where `given` is a folder.

    A file that is there already is replaced with `overwrite` alone, and only where this program
    made it, as its label says. OptionError, InputError.
    """
    path = Path(given)
    if path.suffix.lower() not in WRITABLE_SUFFIXES or os.path.isdir(path):
        return None
    if len(sources) != 1:
        raise OptionError(
            f"-o {path} names a file, but there are {len(sources)} photos; expected a folder"
        )
    job = Job(sources[0].path, path.parent, PurePath(), path.stem, path.suffix, file=path)
    _check_inputs([job])
    if os.path.lexists(path):
        if not _made_here(path):
            raise OptionError(
                f"{path} is there already and not a result of this program; move it away"
            )
        if not overwrite:
            raise OptionError(f"{path} is there already; replace it with --overwrite")
        job = replace(job, earlier={})
    return job


def _made_here(path: Path) -> bool:
    from restore.images.files import read_regular

    if path.is_symlink():
        return False
    try:
        return b"softwareAgent>restore " in read_regular(path)
    except InputError:
        return False


def _check_inputs(jobs: Sequence[Job]) -> None:
    """InputError where something that will be written is a photo that is read."""
    inputs = {os.path.realpath(job.source) for job in jobs}
    stems: dict[tuple[str, str], Job] = {}
    for job in jobs:
        for path in (job.photo, job.result):
            if os.path.realpath(path) in inputs:
                raise InputError(f"{path} is an input: choose another output folder with -o")
        for path in (job.crop(0), job.restored(0), job.comparison(0)):
            if job.file is None:
                stems[(os.path.realpath(path.parent), job.name)] = job
    for given in inputs:
        folder, name = os.path.split(given)
        found = re.match(r"(.*)_\d{2,}", os.path.splitext(name)[0], re.DOTALL)
        if found and (folder, found[1]) in stems:
            source = stems[(folder, found[1])].source
            raise InputError(
                f"{given} is an input, and a face of {source} would get its name; choose another "
                "output folder with -o"
            )


def _fitting(name: str, tag: str) -> str:
    """The stem, cut where a file system would not take it; no two stems are cut alike."""
    room = _LONGEST - len(os.fsencode(tag))
    raw = os.fsencode(name)
    if len(raw) <= room:
        return name
    mark = "~" + hashlib.sha256(raw).hexdigest()[:10]
    return (
        os.fsdecode(raw[: room - len(mark)]).encode("utf-8", "ignore").decode("utf-8", "ignore")
        + mark
    )


def _key(folder: PurePath, name: str) -> tuple[str, str]:
    return str(folder), unicodedata.normalize("NFC", name).casefold()
