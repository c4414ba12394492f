"""NVIDIA's StyleGAN2 pickles, read as data: tensors and plain containers, never embedded source.

Such a file calls `torch_utils.persistence._reconstruct_persistent_obj` with the source text of a
class and would execute it. Here that name is a function that puts the stored state into a record.
"""

from __future__ import annotations

import collections
import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restore.errors import CheckpointError

GENERATORS = ("G_ema", "G")


@dataclass(frozen=True)
class PersistentRecord:
    """A pickled module as data: its class name and `__dict__`; its source is dropped unread."""

    class_name: str
    state: Mapping[str, Any]


class _PlainRecord:
    """Stands for an ordinary torch module inside such a file; filled by pickle's BUILD."""


class _Table(dict):  # type: ignore[type-arg]
    """Stands for `dnnlib.EasyDict`."""


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


_ALLOWED: dict[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _record,
    ("dnnlib.util", "EasyDict"): _Table,
    ("dnnlib", "EasyDict"): _Table,
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


class _DataUnpickler(pickle.Unpickler):
    """Admits the names above, dtypes and torch's layer classes (as records); refuses the rest."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if re.fullmatch(r"torch\.nn\.modules\.\w+", module) and name.isidentifier():
            return _PlainRecord
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
            return NvidiaPickle(module_tensors(network), network.class_name, dict(kwargs))
    raise CheckpointError(
        f"{path} has no network under {' or '.join(names)}; it holds {', '.join(map(str, content))}"
    )
