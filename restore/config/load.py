"""Option files read, checked in one go, and written back resolved."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from restore.config.old_keys import OLD_KEYS
from restore.config.overrides import apply_overrides
from restore.config.parse import Notes, parse_block
from restore.config.schema import Options
from restore.errors import OptionError

log = logging.getLogger(__name__)


def load_options(path: str | Path, overrides: Iterable[str] = ()) -> Options:
    """Read an option file and check it.

    overrides: texts `a:b=c` of `--force_yml`, checked like the file. Raises OptionError with all
    problems, each with the key's path and, for a misspelt one, the nearest key that exists.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"option file {path} cannot be read: {error}") from error
    return parse_options(text, overrides, str(path))


def parse_options(text: str, overrides: Iterable[str] = (), source: str = "options") -> Options:
    """The same for the text of an option file; `source` names it in messages."""
    loader = _Loader(text)
    try:
        block = loader.get_single_data()
    except (yaml.YAMLError, ValueError) as error:
        raise OptionError(f"{source} is not YAML: {error}") from error
    finally:
        loader.dispose()
    if not isinstance(block, dict):
        raise OptionError(f"{source} holds no block of keys; expected name, datasets, network_g...")
    block, problems = apply_overrides(block, overrides)
    notes = Notes(old_keys=OLD_KEYS, plugins=bool(block.get("plugins")))
    notes.problems += [*loader.repeated, *problems]
    options = parse_block(Options, block, "", notes)
    if notes.problems:
        count = f"{len(notes.problems)} problem{'s' if len(notes.problems) > 1 else ''}"
        raise OptionError("\n  ".join([f"{source} has {count}:", *notes.problems]))
    for line in notes.ignored:
        log.info("%s", line)
    assert isinstance(options, Options)
    return options


def dump_options(options: Any) -> str:
    """The resolved options as YAML that `load_options` reads to the same options."""
    return yaml.safe_dump(to_plain(options), sort_keys=False, allow_unicode=True)


def to_plain(value: Any) -> Any:
    """Options as dicts, lists and scalars; a plugin's block gets its arguments back."""
    if is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "foreign"):
            return {"type": value.type, **to_plain(value.arguments)}  # type: ignore[attr-defined]
        return {_KEYS.get(f.name, f.name): to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(inner) for inner in value]
    return value


_KEYS = {"l1_opt": "L1_opt"}
"""Keys that are not written like their fields."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that notes keys which a file gives twice: PyYAML keeps the last in silence."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen and key != "<<":
                line = key_node.start_mark.line + 1
                self.repeated.append(f"line {line}: key {key!r} is given twice in one block")
            seen.add(key)
        return super().construct_mapping(node, deep)
