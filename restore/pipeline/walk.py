"""The photos of files and folders, and what was left aside."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from restore.images.formats import PHOTO_SUFFIXES


@dataclass(frozen=True)
class Source:
    """A photo to be restored, and the folder it lies in as seen from the input folder."""

    path: Path
    folder: PurePath


@dataclass(frozen=True)
class Walk:
    """What was found."""

    photos: tuple[Source, ...]
    ignored: tuple[Path, ...]
    """Files in the folders that are no photos by their suffix, or hidden."""
    problems: tuple[tuple[Path, str], ...]
    """Inputs that do not exist and folders that cannot be read, with the reason."""


def find_photos(
    inputs: Iterable[str | Path], recursive: bool = False, leave_out: Path | None = None
) -> Walk:
    """Photos of files and folders, sorted by path within each input; none twice.

    A file given by itself is taken whatever its suffix. In folders, files count by suffix, hidden
    ones are ignored, and with `recursive` sub-folders are walked (links to folders are not).
    `leave_out`: a folder whose contents do not count: the output of this very run.
    """
    photos: list[Source] = []
    ignored: list[Path] = []
    problems: list[tuple[Path, str]] = []
    for given in map(Path, inputs):
        if given.is_dir():
            _walk_folder(given, recursive, leave_out, photos, ignored, problems)
        elif given.exists():
            photos.append(Source(given, PurePath()))
        else:
            problems.append((given, "does not exist; expected a photo or a folder of photos"))
    once = {os.path.realpath(source.path): source for source in reversed(photos)}
    unique = tuple(reversed(list(once.values())))
    return Walk(unique, tuple(ignored), tuple(problems))


def _walk_folder(
    root: Path,
    recursive: bool,
    leave_out: Path | None,
    photos: list[Source],
    ignored: list[Path],
    problems: list[tuple[Path, str]],
) -> None:
    def note(error: OSError) -> None:
        where = Path(error.filename or root)
        problems.append((where, f"folder cannot be read: {error.strerror or error}"))

    for folder, below, files in os.walk(root, onerror=note):
        if leave_out is not None and os.path.realpath(folder) == os.path.realpath(leave_out):
            below.clear()
            continue
        below[:] = sorted(name for name in below if not name.startswith(".")) if recursive else []
        for name in sorted(files):
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in PHOTO_SUFFIXES:
                ignored.append(path)
            else:
                photos.append(Source(path, path.parent.relative_to(root)))
