"""The photos of files and folders, and what was left aside."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from restore.images.formats import why_ignored

KINDS = ("restored_imgs", "cropped_faces", "restored_faces", "cmp")
"""The folders of an output: photos, crops, restored crops, both side by side."""


@dataclass(frozen=True)
class Source:
    """A photo to be restored, and the folder it lies in as seen from the input folder."""

    path: Path
    folder: PurePath


@dataclass(frozen=True)
class Walk:
    """What was found."""

    photos: tuple[Source, ...]
    ignored: tuple[tuple[Path, str], ...]
    """Files in the folders that are no photos, with the reason: hidden, of another kind, ..."""
    problems: tuple[tuple[Path, str], ...]
    """Inputs that do not exist and folders that cannot be read, with the reason."""


def find_photos(
    inputs: Iterable[str | Path], recursive: bool = False, leave_out: Path | None = None
) -> Walk:
    """Photos of files and folders, sorted by path within each input; none twice.

    A file given by itself is taken whatever its suffix. In folders, regular files count by suffix,
    hidden ones are ignored, and with `recursive` sub-folders are walked (links to folders are not).
    `leave_out`: the output of this very run, whose contents do not count; where it is an input
    itself, only what the program writes there does not.
    """
    photos: list[Source] = []
    ignored: list[tuple[Path, str]] = []
    problems: list[tuple[Path, str]] = []
    for given in map(Path, inputs):
        try:
            mode = os.stat(given).st_mode
        except FileNotFoundError:
            problems.append((given, "does not exist; expected a photo or a folder of photos"))
        except (OSError, ValueError) as error:  # a folder above it is closed, the name too long
            problems.append((given, f"cannot be looked at: {_said(error)}"))
        else:
            if stat.S_ISDIR(mode):
                _walk_folder(given, recursive, leave_out, photos, ignored, problems)
            else:
                photos.append(Source(given, PurePath()))
    once = {os.path.realpath(source.path): source for source in reversed(photos)}
    unique = tuple(reversed(list(once.values())))
    return Walk(unique, tuple(ignored), tuple(problems))


def _walk_folder(
    root: Path,
    recursive: bool,
    leave_out: Path | None,
    photos: list[Source],
    ignored: list[tuple[Path, str]],
    problems: list[tuple[Path, str]],
) -> None:
    def note(error: OSError) -> None:
        where = Path(error.filename or root)
        problems.append((where, f"folder cannot be read: {error.strerror or error}"))

    output = None if leave_out is None else os.path.realpath(leave_out)
    own = set() if output is None else {os.path.join(output, kind) for kind in KINDS}
    own.add(str(output))
    for folder, below, files in os.walk(root, onerror=note):
        if folder != os.fspath(root) and os.path.realpath(folder) in own:
            below.clear()
            continue
        below[:] = sorted(name for name in below if not name.startswith(".")) if recursive else []
        for name in sorted(files):
            path = Path(folder, name)
            reason = why_ignored(name) or _no_file(path)
            if reason:
                ignored.append((path, reason))
            else:
                photos.append(Source(path, path.parent.relative_to(root)))


def _no_file(path: Path) -> str | None:
    """Why a name in a folder is no file that can be read; None where it is one."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"cannot be looked at: {_said(error)}"
    return None if stat.S_ISREG(mode) else "no regular file (a pipe, socket or device)"


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
