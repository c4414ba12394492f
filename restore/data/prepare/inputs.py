"""What is prepared: photos of folders, tars and single files, each with a name and a key."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restore.data.decode import IMAGE_SUFFIXES
from restore.errors import InputError

PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, ".heic", ".heif", ".avif", ".gif")


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
