"""Keep freed memory in the process: page faults can cost a CPU more than a step's maths."""

from __future__ import annotations

import ctypes

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
