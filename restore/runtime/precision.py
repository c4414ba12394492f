"""What numbers a network is computed in, and whether this CPU computes in bfloat16 by itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from restore.errors import DeviceError

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
