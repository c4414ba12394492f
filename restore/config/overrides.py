"""`--force_yml a:b=c`: values put into the mapping of an option file before it is checked."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml


def apply_overrides(
    block: Mapping[str, Any], overrides: Iterable[str]
) -> tuple[dict[str, Any], list[str]]:
    """A changed copy, and the problems of overrides that cannot be applied.

    Keys are parted by `:` or `.`, the value is YAML; a block that is missing is made. Whether the
    keys exist and the values fit is checked with the rest of the file.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(block))
    problems = []
    for text in overrides:
        key, equals, value = text.partition("=")
        names = [name.strip() for name in re.split("[:.]", key)]
        if not equals or not all(names):
            problems.append(f"--force_yml {text!r}: expected key:key=value")
            continue
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError as error:
            problems.append(f"--force_yml {text!r}: the value is not YAML ({_first_line(error)})")
            continue
        problem = _put(changed, names, read)
        if problem:
            problems.append(f"--force_yml {text!r}: {problem}")
    return changed, problems


def _put(block: dict[str, Any], names: list[str], value: Any) -> str | None:
    for depth, name in enumerate(names[:-1]):
        inner = block.get(name)
        if inner is None:
            inner = block[name] = {}
        if not isinstance(inner, dict):
            return f"{'.'.join(names[: depth + 1])} holds {inner!r}, expected a block of keys"
        block = inner
    block[names[-1]] = value
    return None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
