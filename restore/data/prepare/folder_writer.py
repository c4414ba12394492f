"""FolderWriter: crops as files of a folder, each with its record beside it; the LMDB's twin."""

from __future__ import annotations

from pathlib import Path

from restore.data.decode import IMAGE_SUFFIXES
from restore.data.lmdb_files import RECORD_SUFFIX, LmdbWriter


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
