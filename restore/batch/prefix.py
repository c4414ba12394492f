"""A prefix: a folder here or in an object store, read and written through fsspec or pyarrow."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from restore.errors import InputError, MissingExtraError


def prefix_of(given: str) -> Prefix:
    """The prefix that a user names; a path of this machine becomes absolute, for every process."""
    return Prefix(given if "://" in given else os.path.abspath(given))


@dataclass(frozen=True)
class Prefix:
    """Files below `url`, named by their path relative to it. Holds no connection: it travels."""

    url: str
    """A local path, or a URL such as s3://bucket/photos."""

    def names(self) -> list[str]:
        """All files, sorted; [] where there is nothing. `InputError` if it cannot be read."""
        fs, root = self._open()
        try:
            found = fs.find(root)
        except FileNotFoundError:
            return []
        except Exception as error:  # each store has its own exceptions
            raise self._unreadable(error) from error
        return sorted(str(PurePosixPath(path).relative_to(root)) for path in found)

    def exists(self) -> bool:
        """Whether there is something under this prefix."""
        fs, root = self._open()
        try:
            return bool(fs.exists(root))
        except Exception as error:
            raise self._unreadable(error) from error

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to this machine."""
        fs, root = self._open()
        fs.get_file(f"{root}/{name}", os.fspath(target))

    def put(self, source: Path, name: str) -> None:
        """Copy a file of this machine to the prefix; readers see the whole file or none."""
        fs, root = self._open()
        path = f"{root}/{name}"
        fs.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        if not self._local(fs):  # an object appears when its upload is complete
            fs.put_file(os.fspath(source), path)
            return
        part = f"{root}/{PurePosixPath(name).parent}/.{uuid.uuid4().hex}.part"
        fs.put_file(os.fspath(source), part)
        os.replace(part, path)

    def _open(self) -> tuple[Any, str]:
        """The file system and the path of this prefix in it."""
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingExtraError("fsspec", "ray", "restore.batch") from error
        try:
            fs, root = url_to_fs(self.url)
        except ImportError:  # fsspec knows the scheme, but the package for it is not there
            fs, root = self._through_pyarrow()
        except ValueError as error:
            raise self._unreadable(error) from error
        return fs, str(root).rstrip("/")

    def _through_pyarrow(self) -> tuple[Any, str]:
        try:
            from fsspec.implementations.arrow import ArrowFSWrapper
            from pyarrow.fs import FileSystem

            fs, root = FileSystem.from_uri(self.url)
        except Exception as error:
            raise self._unreadable(error) from error
        return ArrowFSWrapper(fs), root

    def _local(self, fs: Any) -> bool:
        return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(
            f"{self.url} cannot be opened: {type(error).__name__}: {error}; expected a folder, or "
            "a prefix such as s3://bucket/photos with its fsspec package or pyarrow installed"
        )
