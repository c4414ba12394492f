"""The one door to weights files: .safetensors, .pth and NVIDIA's .pkl in, tensors out; and writing.

Nothing that lies in a file is ever run. Headers, which need no torch, are read by
`restore.model_files`; ONNX graphs are opened by `restore.model_files`.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from restore.errors import CheckpointError
from restore.model_files import check_prior, read_header

# Wrappers in order of preference: averaged weights first.
WRAPPERS = ("params_ema", "g_ema", "params", "state_dict", "g", "d", "model", "net", "module")
PREFIXES = ("module.", "_orig_mod.")
TORCH_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # pickled torch magic number


@dataclass(frozen=True)
class StateDict:
    """Flat `tensors` by name; `wrapper`: the key they lay under (None: at the top)."""

    tensors: dict[str, Tensor]
    wrapper: str | None = None


def read_state_dict(path: str | os.PathLike[str], key: str | None = None) -> StateDict:
    """Read a weights file of any known container, told by its first bytes, not by its name.

    `key` picks a wrapper ("params", "d", ...); by default averaged weights win. Code in a pickle is
    never run: `CheckpointError` names what it asked for. Damaged files raise it too.
    """
    path = Path(path)
    container = sniff(path)
    if container == "safetensors":
        return unwrap(read_tensors(path), path, key)
    if container == "pickle":
        return StateDict(read_nvidia_pickle(path, key).tensors, key)
    return unwrap(read_torch(path), path, key)


def sniff(path: Path) -> str:
    """Container of a file: "torch", "safetensors" or "pickle"; else an error saying what it is."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no file {path}") from error
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}") from error
    if not head:
        raise CheckpointError(f"{path} is empty; fetch it again")
    if head.startswith(b"PK\x03\x04") or head.startswith(TORCH_LEGACY_MAGIC):
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "safetensors"
    if re.match(rb"\x80[\x02-\x05]", head):
        return "pickle"
    if not head.strip(b"\0"):
        found = "nothing but zero bytes"
    elif head.lstrip()[:1] == b"<":
        found = "a web page, so a download has gone wrong"
    elif head.startswith(b"version https://git-lfs"):
        found = "a Git LFS pointer, not the file it points to"
    else:
        found = f"unknown content (first bytes {head[:8]!r})"
    raise CheckpointError(
        f"{path} is no weights file but {found}; expected .pth, .pt, .safetensors or NVIDIA .pkl"
    )


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, and of the prior that its header names, as stored."""
    path = Path(path)
    header = read_header(path)  # checks lengths and says what is wrong
    shared = {}
    if "prior" in header:
        prior, prefix = check_prior(path, header["prior"])
        shared = {f"{prefix}{name}": tensor for name, tensor in read_tensors(prior).items()}
    try:
        return shared | load_file(path)
    except Exception as error:  # safetensors' own error type is not public in all versions
        raise CheckpointError(f"{path} is a damaged safetensors file: {error}") from error


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file, whole or not at all; its folder is made.

    The same content gives the same bytes, where the writer of the package `safetensors` puts the
    metadata in another order each time: a frozen prior is known by its SHA-256.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.writelines(_safetensors(tensors, metadata))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """The bytes of a safetensors file, piece by piece."""
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].nbytes
        dtype, shape = _DTYPES[tensors[name].dtype], list(tensors[name].shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy().tobytes()


_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def read_torch(path: Path) -> Any:
    """Content of a file of `torch.save`: tensors and plain containers; refuses the rest."""
    # rosinality's training files carry their argparse.Namespace, a plain holder of values.
    allow = getattr(torch.serialization, "safe_globals", None)
    try:
        if allow is None:
            return torch.load(path, map_location="cpu", weights_only=True)
        with allow([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(
            r"GLOBAL ([\w.]+)|(?:class|function|global):? ([\w.]+\.\w+)", str(error)
        )
        if refused:
            name = refused.group(1) or refused.group(2)
            raise CheckpointError(
                f"Refused: {path} asks for {name}, which is no tensor and no plain container. "
                f"Nothing of it was run; do not open this file with other tools"
            ) from error
        raise CheckpointError(f"{path} is a damaged or cut torch file: {error}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is a damaged or cut torch file ({reason}); fetch it again"
        ) from error


def unwrap(content: Any, path: Path, key: str | None = None) -> StateDict:
    """Find the state dict in what a file holds and strip the prefixes of parallel wrappers."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a table of tensors by name"
        )
    wrapper = None
    outer = content
    if key is not None:
        if not isinstance(content.get(key), Mapping):
            raise CheckpointError(
                f"{path} has no table {key!r}; it holds {', '.join(map(str, list(content)[:12]))}"
            )
        wrapper, content = key, content[key]
    else:
        for name in WRAPPERS:
            if isinstance(content.get(name), Mapping):
                wrapper, content = name, content[name]
                break
    tensors = {str(name): t for name, t in content.items() if isinstance(t, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path} holds no tensors, only {', '.join(map(str, list(content)[:12])) or 'nothing'}"
        )
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: t for name, t in tensors.items()}
    # rosinality keeps the mean of w beside the networks; it belongs to the generator.
    if isinstance(outer.get("latent_avg"), Tensor) and "input.input" in tensors:
        tensors.setdefault("latent_avg", outer["latent_avg"])
    return StateDict(tensors, wrapper)


# NVIDIA's StyleGAN2 pickles. Such a file calls torch_utils.persistence._reconstruct_persistent_obj
# with the source text of a class and would execute it. Here every name stands for something inert.

GENERATORS = ("G_ema", "G")


@dataclass(frozen=True)
class PersistentRecord:
    """A pickled module as data: its class name and `__dict__`; its source is dropped unread."""

    class_name: str
    state: Mapping[str, Any]


class _PlainRecord:
    """Stands for an ordinary torch module inside such a file; filled by pickle's BUILD."""


@dataclass(frozen=True)
class NvidiaPickle:
    """Tensors of one network and the keyword arguments its constructor was given."""

    tensors: dict[str, Tensor]
    class_name: str
    init_kwargs: dict[str, Any] = field(default_factory=dict)


def _record(meta: Mapping[str, Any]) -> PersistentRecord:
    state = meta.get("state")
    if meta.get("type") != "class" or not isinstance(state, Mapping):
        raise CheckpointError("A persistent object of this pickle is no class with a state")
    return PersistentRecord(str(meta.get("class_name", "")), state)


def _storage(data: bytes) -> Any:
    """A pickled storage carries its own torch file: read it as weights only."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _parameter(tensor: Tensor, requires_grad: bool, hooks: object) -> Tensor:
    return tensor


def _latin1(text: str, encoding: str) -> bytes:
    """Protocol 2 has no bytes and writes them as text to be encoded."""
    if encoding != "latin1":
        raise CheckpointError(f"Refused: the pickle asks for the codec {encoding!r}")
    return text.encode("latin1")


class _Call:
    """A function as an unpickler may have it: it can be called, and nothing of it be changed.

    BUILD, pickle's step that sets attributes, would rewrite a real function for the whole process.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise CheckpointError(
            "Refused: the pickle changes a function. Nothing of it was run; do not open this file "
            "with other tools"
        )


_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _record,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("_codecs", "encode"): _latin1,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch", "device"): torch.device,
    ("torch", "Size"): torch.Size,
}
_DTYPE_NAMES = {str(dtype): dtype for dtype in (*_DTYPES, torch.int16, torch.int8)}


class _DataUnpickler(pickle.Unpickler):
    """Admits the names above, dtypes and torch's layer classes (as records); refuses the rest."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        # Classes of this file alone: what it sets on them goes with it.
        self._table = type("_Table", (dict,), {})
        self._plain = type("_Plain", (_PlainRecord,), {})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CALLS:
            return _Call(_CALLS[module, name])
        if module in ("dnnlib", "dnnlib.util") and name == "EasyDict":
            return self._table
        if f"{module}.{name}" in _DTYPE_NAMES:
            return _DTYPE_NAMES[f"{module}.{name}"]
        if re.fullmatch(r"torch\.nn\.modules\.\w+", module) and name.isidentifier():
            return self._plain
        if module.startswith("dnnlib.tflib"):
            raise CheckpointError(
                "This is a TensorFlow pickle of StyleGAN2; convert it with NVIDIA's legacy.py "
                "to a PyTorch pickle first"
            )
        raise CheckpointError(
            f"Refused: the pickle asks for {module}.{name}, which is no tensor and no plain "
            f"container. Nothing of it was run; do not open this file with other tools"
        )

    def persistent_load(self, pid: object) -> Any:
        raise CheckpointError(f"Refused: the pickle refers to an outside object {pid!r}")


def read_data_pickle(path: Path) -> Any:
    """Unpickle plain data, tensors and records. Raises `CheckpointError` naming what is refused."""
    try:
        with path.open("rb") as file:
            return _DataUnpickler(file).load()
    except (CheckpointError, MemoryError):
        raise
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # pickle raises anything on damaged input; the file is at fault
        raise CheckpointError(
            f"{path} is a damaged or cut pickle ({type(error).__name__}: {error}); fetch it again"
        ) from error


def module_tensors(record: object, prefix: str = "") -> dict[str, Tensor]:
    """The `state_dict` of a pickled module: parameters and persistent buffers, with children."""
    state: Mapping[str, Any] = (
        record.state if isinstance(record, PersistentRecord) else vars(record)
    )
    transient = state.get("_non_persistent_buffers_set") or ()
    tensors = {}
    for group in ("_parameters", "_buffers"):
        for name, tensor in (state.get(group) or {}).items():
            if isinstance(tensor, Tensor) and name not in transient:
                tensors[prefix + str(name)] = tensor.detach()
    for name, child in (state.get("_modules") or {}).items():
        if isinstance(child, (PersistentRecord, _PlainRecord)):
            tensors.update(module_tensors(child, f"{prefix}{name}."))
    return tensors


def read_nvidia_pickle(path: Path, key: str | None = None) -> NvidiaPickle:
    """One network of an NVIDIA pickle; by default its averaged generator."""
    content = read_data_pickle(path)
    if isinstance(content, PersistentRecord):
        content = {"G_ema": content}
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a table of networks"
        )
    names: tuple[str, ...] = (key,) if key else GENERATORS
    for name in names:
        if isinstance(content.get(name), PersistentRecord):
            network = content[name]
            kwargs = network.state.get("_init_kwargs") or {}
            try:
                return NvidiaPickle(module_tensors(network), network.class_name, dict(kwargs))
            except (AttributeError, TypeError, ValueError, RecursionError) as error:
                raise CheckpointError(f"{path} is a damaged pickle: {error}") from error
    raise CheckpointError(
        f"{path} has no network under {' or '.join(names)}; it holds {', '.join(map(str, content))}"
    )
