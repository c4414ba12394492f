"""What every runtime has: crops in and out, what it computes in, what it reads of a model."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from restore.checkpoints.named_models import MODELS
from restore.errors import CheckpointError, DeviceError, InputError
from restore.geometry import ffhq_template
from restore.model_files import FORMAT, read_header


class Runtime(Protocol):
    """A network on aligned crops; safe to share between threads."""

    @property
    def crop_size(self) -> int:
        """Side s of the crops in px."""
        ...

    @property
    def template(self) -> NDArray[np.float64]:
        """[5,2] points in crop pixels that the landmarks are brought to."""
        ...

    @property
    def name(self) -> str:
        """Such as "onnxruntime" or "torch"."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in: "float32", "bfloat16" or "float16"."""
        ...

    @property
    def supports_fidelity(self) -> bool:
        """Whether `fidelity` changes anything."""
        ...

    def run(
        self, crops: NDArray[np.uint8], fidelity: float | NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """uint8 RGB [n,s,s,3], fidelity in [0,1] -> the same shape, estimates [n,6] or None."""
        ...


PRECISIONS = ("auto", "float32", "bfloat16", "float16")
CPU_INFO = Path("/proc/cpuinfo")
NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's


def check_precision(precision: str) -> None:
    """Raise `DeviceError` for a precision that no runtime has."""
    if precision not in PRECISIONS:
        raise DeviceError(f"precision {precision!r} is unknown; choose of {', '.join(PRECISIONS)}")


@cache
def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware, as the system lists it (Linux).

    Elsewhere, and where it is not listed, False: emulated bfloat16 is slower than float32.
    """
    try:
        text = CPU_INFO.read_text("utf-8", "replace")
    except OSError:
        return False
    for line in text.splitlines():
        name, _, flags = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return bool(NATIVE_BFLOAT16 & set(flags.split()))
    return False


def cpu_precision(precision: str) -> str:
    """`precision` with "auto" resolved for a runtime that has both on a CPU."""
    check_precision(precision)
    if precision != "auto":
        return precision
    return "bfloat16" if cpu_has_bfloat16() else "float32"


def to_network(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 RGB [n,s,s,3] -> float32 [n,3,s,s] in [-1,1], contiguous."""
    planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
    planes *= 2 / 255
    planes -= 1
    return planes


def to_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 [n,3,s,s] about [-1,1], clamped to it -> uint8 RGB [n,s,s,3], rounded to nearest."""
    pixels = np.empty((len(images), *images.shape[2:], 3), np.uint8)
    scaled = np.empty(images.shape[1:], np.float32)  # one image at a time stays in the cache
    for image, target in zip(images, pixels, strict=True):
        np.multiply(image, 127.5, out=scaled)
        scaled += 127.5
        if not np.isfinite(scaled.sum(dtype=np.float64)):  # passes on what is not finite
            raise InputError(
                "the network gave numbers that are not finite; the weights may be damaged"
            )
        np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
        for channel in range(3):
            target[..., channel] = scaled[channel]
    return pixels


def check_request(
    crops: NDArray[np.uint8],
    fidelity: float | NDArray[np.float32],
    size: int,
    supports_fidelity: bool,
) -> NDArray[np.float32]:
    """Fidelity as float32 [n] for crops [n,size,size,3]; raises `InputError` for what cannot be."""
    if crops.ndim != 4 or crops.shape[1:] != (size, size, 3) or crops.dtype != np.uint8:
        raise InputError(
            f"crops are {crops.dtype} {list(crops.shape)}; this model reads uint8 RGB "
            f"[n, {size}, {size}, 3]"
        )
    values = np.asarray(fidelity, np.float32)
    if values.ndim > 1 or values.size not in (1, len(crops)):
        raise InputError(f"fidelity has shape {list(values.shape)}; give one number or one a crop")
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            f"fidelity is {fidelity}; it goes from 0 (prior paints) to 1 (photo leads)"
        )
    if not supports_fidelity and (values != 1).any():
        raise InputError("this model has no fidelity dial; leave it at 1")
    return np.broadcast_to(values.reshape(-1), (len(crops),)).copy()


# mallopt's parameters, from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large freed blocks instead of giving each back to the system.

    Feature maps of tens of megabytes are otherwise mapped, zeroed by the kernel and unmapped at
    every step. Returns whether the C library took the settings (False where it is not glibc).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(key, value) == 1 for key, value in settings)


RANGE = "-1..1"


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """`crop_size` in px, `template` [5,2] in crop pixels, and the whole header."""

    crop_size: int
    template: NDArray[np.float64]
    header: Mapping[str, Any]


def read_model_info(path: Path) -> ModelInfo:
    """`ModelInfo` of a model file of ours; raises `CheckpointError` for any other file."""
    header = read_header(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no model file of ours; its format is {header.get('format')!r}, expected "
            f"{FORMAT!r}. `restore export` makes one of a GFPGAN checkpoint"
        )
    return model_info(header, str(path))


def model_info(header: Mapping[str, Any], source: str) -> ModelInfo:
    """`ModelInfo` from a header or from a row of the table of models.

    A header without a template means the plain FFHQ frame. An unknown one raises
    `CheckpointError`, as does another range of pixels than -1..1.
    """
    if "crop_size" not in header:
        raise CheckpointError(f"{source}: its header does not say crop_size")
    size = int(header["crop_size"])
    if header.get("range", RANGE) != RANGE:
        raise CheckpointError(f"{source}: range {header['range']!r} is unknown, expected {RANGE!r}")
    template = header.get("template", {"name": "ffhq512"})
    if not isinstance(template, Mapping) or template.get("name") != "ffhq512":
        raise CheckpointError(f"{source}: template {template!r} is unknown, expected ffhq512")
    try:
        zoom = float(template.get("zoom", 1.0))
        x, y = map(float, template.get("centre", (256, 256)))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: template {template!r} is no frame: {error}") from error
    if not zoom > 0:
        raise CheckpointError(f"{source}: template {template!r} has no zoom above 0")
    return ModelInfo(size, ffhq_template(size, zoom, (x, y)), header)


def row_of_file(model: Path) -> dict[str, Any]:
    """What the table of models says of a published file, known by its name; {} of others."""
    for entry in MODELS.values():
        if not entry.packaged and entry.filename == model.name:
            return dict(entry.config)
    return {}
