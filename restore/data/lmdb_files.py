"""LMDB folders in BasicSR's layout, written and read; records stand beside the crops by key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from restore.data.decode import decode_rgb
from restore.errors import InputError, MissingExtraError

META_INFO = "meta_info.txt"
RECORD_SUFFIX = ".json"
"""The record of the crop `00001` is stored under the key `00001.json`."""


def meta_line(name: str, shape: tuple[int, ...], level: int) -> str:
    """A line of meta_info.txt: `name.png (h,w,c) level`."""
    h, w, c = shape
    return f"{name} ({h},{w},{c}) {level}"


class LmdbWriter:
    """Writes crops and records; a context. What was put is there after `flush` or the exit.

    An LMDB that exists goes on where it was left, so a preparation can be resumed: `done` are the
    keys that it holds. Keys that must sort and read alike in BasicSR have no extension.
    """

    def __init__(self, path: str | Path) -> None:
        lmdb = _lmdb("writing an LMDB")
        self.path = Path(path)
        if self.path.suffix != ".lmdb":
            raise InputError(f"{self.path}: BasicSR wants LMDB folders to end in .lmdb")
        self.path.mkdir(parents=True, exist_ok=True)
        self._map_full = lmdb.MapFullError
        self._size = 1 << 30
        self._env = lmdb.open(str(self.path), map_size=self._size, readonly=False)
        self._size = max(self._size, self._env.info()["map_size"])
        self._pending: dict[bytes, bytes] = {}
        self._lines = self._known_lines()

    def _known_lines(self) -> dict[str, str]:
        path = self.path / META_INFO
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        by_key = {line.split(" ")[0].rsplit(".", 1)[0]: line for line in lines if line.strip()}
        # the text is written after the pages: what is named is there, unless a hand removed it
        with self._env.begin() as transaction:
            return {k: v for k, v in by_key.items() if transaction.get(k.encode()) is not None}

    @property
    def done(self) -> frozenset[str]:
        """Keys of the crops that are there."""
        return frozenset(self._lines)

    def put(
        self, name: str, data: bytes, shape: tuple[int, ...], level: int, record: bytes | None
    ) -> None:
        """Store a crop's file bytes. name: `key.png`; shape (h,w,c); level of compression."""
        key = name.rsplit(".", 1)[0]
        if " " in key or "\n" in key:
            raise InputError(f"key {key!r} has white space, which meta_info.txt cannot hold")
        if len(key.encode()) + len(RECORD_SUFFIX) > 500:
            raise InputError(f"key {key[:40]!r}... is longer than the 500 bytes that LMDB takes")
        self._pending[key.encode()] = data
        if record is not None:
            self._pending[(key + RECORD_SUFFIX).encode()] = record
        self._lines[key] = meta_line(name, shape, level)
        if sum(map(len, self._pending.values())) > 64 << 20:
            self.flush()

    def flush(self) -> None:
        """Commit what was put, grow the file where it is full, write meta_info.txt."""
        while self._pending:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, data in self._pending.items():
                        transaction.put(key, data)
                self._pending = {}
            except self._map_full:
                self._size *= 2
                self._env.set_mapsize(self._size)
        text = "".join(self._lines[key] + "\n" for key in sorted(self._lines))
        temporary = self.path / (META_INFO + ".part")
        temporary.write_text(text, "utf-8")
        temporary.replace(self.path / META_INFO)

    def close(self) -> None:
        """Commit and close."""
        self.flush()
        self._env.close()

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LmdbStore:
    """A store over an LMDB folder; keys come from meta_info.txt, as BasicSR reads them."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        meta = self.path / META_INFO
        if not meta.is_file():
            raise InputError(
                f"{self.path} has no {META_INFO}; expected an LMDB in BasicSR's layout"
            )
        names = [line.split(" ")[0] for line in meta.read_text("utf-8").splitlines() if line]
        self.keys = tuple(sorted(name.rsplit(".", 1)[0] for name in names))
        if not self.keys:
            raise InputError(f"{meta} names no crop; was the preparation stopped at its start?")
        self._env: tuple[int, Any] | None = None

    def _read(self, key: str) -> bytes | None:
        # an environment must not be carried over a fork, and cannot be pickled
        if self._env is None or self._env[0] != os.getpid():
            self._env = (os.getpid(), _shared_environment(self.path))
        with self._env[1].begin() as transaction:
            data: bytes | None = transaction.get(key.encode())
        return data

    def image(self, key: str) -> np.ndarray:
        data = self._read(key)
        if data is None:
            raise InputError(f"{self.path} has no crop {key!r}, though {META_INFO} names it")
        try:
            return decode_rgb(data)
        except InputError as error:
            raise InputError(f"{self.path}: {key} {error}") from error.__cause__

    def record(self, key: str) -> bytes | None:
        return self._read(key + RECORD_SUFFIX)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_env": None}


_ENVIRONMENTS: WeakValueDictionary[tuple[int, str], Any] = WeakValueDictionary()
"""Open environments by process and path, while a store uses them: LMDB forbids a second one."""


def _shared_environment(path: Path) -> Any:
    place = (os.getpid(), os.path.realpath(path))
    opened = _ENVIRONMENTS.get(place)
    if opened is None:
        for other, inherited in list(_ENVIRONMENTS.items()):
            if other[1] == place[1]:
                # a fork's copy of the parent's handle: closed here, it stays open there
                inherited.close()
                _ENVIRONMENTS.pop(other, None)
        lmdb = _lmdb("reading an LMDB")
        try:
            opened = lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False)
        except lmdb.Error as error:
            raise InputError(f"{path} cannot be opened as an LMDB: {error}") from error
        _ENVIRONMENTS[place] = opened
    return opened


def _lmdb(purpose: str) -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise MissingExtraError("lmdb", "train", purpose) from error
    return lmdb
