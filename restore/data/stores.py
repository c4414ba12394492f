"""Where crops lie (folders, tars, LMDB, arrays), and how they are read and decoded."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image

from restore.errors import CheckpointError, InputError, MissingExtraError
from restore.images.files import open_picture
from restore.model_files import locate, map_array, read_header

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def decode_rgb(data: bytes) -> np.ndarray:
    """RGB uint8 [h,w,3] of an image file's bytes; raises InputError for damaged ones."""
    try:
        with open_picture(data) as image:
            return _eight_bit(image)
    except (InputError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"cannot be decoded: {error}") from error


def _eight_bit(image: Image.Image) -> np.ndarray:
    """RGB uint8 [h,w,3]. 16-bit gray is scaled: Pillow's own conversion cuts it off at 255."""
    if image.mode.startswith("I"):
        gray = np.asarray(image, np.int64)
        if gray.size and not 0 <= gray.min() <= gray.max() <= 65535:
            raise ValueError(f"{image.mode} pixels in {gray.min()}..{gray.max()}; expected 16 bits")
        return np.repeat(((gray * 255 + 32767) // 65535).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("float pixels; expected 8 or 16 bits")
    return np.array(image.convert("RGB"))


def encode_image(pixels: np.ndarray, kind: str = "png", quality: int = 95, level: int = 1) -> bytes:
    """File bytes of RGB uint8 [h,w,3]: "png" (`level` 0..9), "webp" or "jpg" (`quality`)."""
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    if kind == "png":
        image.save(out, "PNG", compress_level=level)
    elif kind == "webp":
        image.save(out, "WEBP", quality=quality)
    elif kind == "jpg":
        image.save(out, "JPEG", quality=quality, subsampling=0)
    else:
        raise InputError(f"crops as {kind!r}; expected png, webp or jpg")
    return out.getvalue()


TENSOR = "crops"


class ArrayStore:
    """uint8 [n,h,w,3] or [n,3,h,w], read crop by crop from the mapped file.

    Keys: of a .safetensors the JSON list `keys` in its header, of a .npy the lines of a .txt of the
    same name; else the row as eight digits. Records: the header's JSON object `records`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._opened: Any = None
        header = self._header()
        shape, dtype = self._shape()
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or dtype != "uint8":
            raise InputError(
                f"{self.path} holds {dtype} {list(shape)}; expected uint8 [n,h,w,3] or [n,3,h,w]"
            )
        self._planes_first = shape[3] != 3
        keys = header.get("keys") or [f"{i:08d}" for i in range(shape[0])]
        if len(keys) != shape[0] or len(set(keys)) != len(keys):
            raise InputError(
                f"{self.path} has {shape[0]} crops and {len(set(keys))} different keys; "
                "expected one key for each"
            )
        self.keys = tuple(keys)
        self._rows = {key: row for row, key in enumerate(keys)}
        self._records = header.get("records") or {}

    def image(self, key: str) -> np.ndarray:
        row = self._rows[key]
        crop = np.array(self._array()[row : row + 1])[0]
        return np.ascontiguousarray(crop.transpose(1, 2, 0)) if self._planes_first else crop

    def record(self, key: str) -> bytes | None:
        record = self._records.get(key)
        return None if record is None else json.dumps(record).encode()

    def _array(self) -> Any:
        if self._opened is None:
            if self.path.suffix == ".npy":
                self._opened = np.load(self.path, mmap_mode="r", allow_pickle=False)
            else:
                self._opened = map_array(self.path, locate(self.path, TENSOR))
        return self._opened

    def _shape(self) -> tuple[Sequence[int], str]:
        try:
            array = self._array()
            return array.shape, str(array.dtype)
        except (OSError, ValueError, CheckpointError) as error:
            raise InputError(
                f"{self.path} cannot be read: {error}; expected uint8 crops, of a .safetensors as "
                f"the tensor {TENSOR!r}"
            ) from error

    def _header(self) -> dict[str, Any]:
        if self.path.suffix == ".npy":
            names = self.path.with_suffix(".txt")
            return {"keys": names.read_text("utf-8").split()} if names.is_file() else {}
        try:
            header = read_header(self.path)
            return {key: json.loads(header[key]) for key in ("keys", "records") if key in header}
        except (CheckpointError, ValueError) as error:
            raise InputError(f"{self.path} cannot be read: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


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
        return LmdbStore(path)
    if kind == "array":
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
