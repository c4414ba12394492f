"""Where crops lie: folder, tar, LMDB or one array; all read by key, from any process or thread."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from restore.data.decode import IMAGE_SUFFIXES, decode_rgb
from restore.errors import InputError


class Store(Protocol):
    """Crops by key: the name of the file without its extension, folders parted by `/`."""

    keys: tuple[str, ...]

    def image(self, key: str) -> np.ndarray:
        """RGB uint8 [h,w,3]; InputError names the store and the key."""
        ...

    def record(self, key: str) -> bytes | None:
        """The JSON stored beside the crop, or None."""
        ...


def open_store(root: str | Path, kind: str = "auto") -> Store:
    """A store by its path. kind: "disk", "tar", "lmdb", "array", or "auto" to tell from the path.

    disk: a folder of images, with NAME.json beside NAME.png for records. tar: the same in a tar.
    lmdb: BasicSR's layout. array: .npy, or .safetensors with the tensor `crops`, uint8 [n,h,w,3] or
    [n,3,h,w].
    """
    path = Path(root)
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a folder, LMDB, tar or array of crops")
    kind = _kind_of(path) if kind == "auto" else kind
    if kind == "lmdb":
        from restore.data.lmdb_files import LmdbStore

        return LmdbStore(path)
    if kind == "array":
        from restore.data.array_store import ArrayStore

        return ArrayStore(path)
    if kind == "tar":
        return TarStore(path)
    if kind == "disk":
        return DiskStore(path)
    raise InputError(f"store {kind!r} is unknown; expected disk, tar, lmdb, array or auto")


def open_stores(roots: Sequence[str | Path], kind: str = "auto") -> Store:
    """Several stores as one; a key that two of them have is refused."""
    if len(roots) == 0:
        raise InputError("no place to read crops from; expected a folder, LMDB, tar or array")
    stores = [open_store(root, kind) for root in roots]
    return stores[0] if len(stores) == 1 else JoinedStore(stores, [str(root) for root in roots])


class DiskStore:
    """A folder of images, with its subfolders."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root} is no folder; expected one of image files")
        found = sorted(
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
        self._files = _by_key(found, str(self.root))
        self.keys = tuple(self._files)

    def image(self, key: str) -> np.ndarray:
        return _decode((self.root / self._files[key]).read_bytes(), f"{self.root}: {key}")

    def record(self, key: str) -> bytes | None:
        path = self.root / f"{key}.json"
        return path.read_bytes() if path.is_file() else None


class TarStore:
    """An uncompressed tar of images, read at their offsets without unpacking."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(self.path, "r:") as tar:
                for member in tar:
                    if member.isfile():
                        name = member.name.removeprefix("./")
                        self._places[name] = (member.offset_data, member.size)
        except (tarfile.TarError, OSError) as error:
            raise InputError(
                f"{self.path} cannot be read as an uncompressed tar: {error}"
            ) from error
        images = sorted(n for n in self._places if n.lower().endswith(IMAGE_SUFFIXES))
        self._files = _by_key(images, str(self.path))
        self.keys = tuple(self._files)
        self._descriptor: tuple[int, int] | None = None

    def _read(self, name: str) -> bytes:
        # each process opens for itself: descriptors do not survive pickling
        if self._descriptor is None or self._descriptor[0] != os.getpid():
            self._descriptor = (os.getpid(), os.open(self.path, os.O_RDONLY))
        offset, size = self._places[name]
        return os.pread(self._descriptor[1], size, offset)

    def image(self, key: str) -> np.ndarray:
        return _decode(self._read(self._files[key]), f"{self.path}: {key}")

    def record(self, key: str) -> bytes | None:
        name = f"{key}.json"
        return self._read(name) if name in self._places else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)
        if descriptor is not None and descriptor[0] == os.getpid():
            os.close(descriptor[1])


class JoinedStore:
    """Several stores behind one set of keys."""

    def __init__(self, stores: Sequence[Store], names: Sequence[str]) -> None:
        self._store_of: dict[str, Store] = {}
        for store, name in zip(stores, names, strict=True):
            twice = self._store_of.keys() & set(store.keys)
            if twice:
                raise InputError(
                    f"{name} holds {len(twice)} keys that an earlier store has, such as "
                    f"{min(twice)!r}; keys must be unique, so leave one of the stores out"
                )
            self._store_of.update(dict.fromkeys(store.keys, store))
        self.keys = tuple(self._store_of)

    def image(self, key: str) -> np.ndarray:
        return self._store_of[key].image(key)

    def record(self, key: str) -> bytes | None:
        return self._store_of[key].record(key)


def _kind_of(path: Path) -> str:
    if path.is_dir():
        return "lmdb" if path.suffix == ".lmdb" or (path / "data.mdb").is_file() else "disk"
    kinds = {".tar": "tar", ".npy": "array", ".safetensors": "array"}
    if path.suffix not in kinds:
        raise InputError(
            f"{path} is no store of crops; expected a folder, LMDB, .tar, .npy or .safetensors"
        )
    return kinds[path.suffix]


def _by_key(names: Sequence[str], where: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for name in names:
        key = PurePosixPath(name).with_suffix("").as_posix()
        if key in files:
            raise InputError(
                f"{where} holds {files[key]!r} and {name!r}, which differ in the extension alone; "
                "rename one of them"
            )
        files[key] = name
    if not files:
        raise InputError(f"{where} holds no image; expected {', '.join(IMAGE_SUFFIXES)}")
    return files


def _decode(data: bytes, name: str) -> np.ndarray:
    try:
        return decode_rgb(data)
    except InputError as error:
        raise InputError(f"{name} {error}") from error.__cause__
