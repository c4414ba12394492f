"""Which people of a set with names the identity network never sees: those it is tested on."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable

SINGLES_HELD_OUT = 0.4


def person_of(key: str) -> str:
    """The name in a key such as Some_Name_0001 (folders are left out)."""
    return key.rsplit("/", 1)[-1].rsplit("_", 1)[0]


def held_out_people(keys: Iterable[str]) -> frozenset[str]:
    """Everybody with several photos, and by a hash of the name 40 % of those with one."""
    counts = Counter(person_of(key) for key in keys)
    return frozenset(
        name for name, count in counts.items() if count > 1 or _share(name) < SINGLES_HELD_OUT
    )


def _share(name: str) -> float:
    return zlib.crc32(name.encode()) / 2**32
