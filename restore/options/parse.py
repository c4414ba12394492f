"""Plain values of a YAML file into frozen dataclasses: every problem in one message."""

from __future__ import annotations

import copy
import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union

import yaml

from restore.errors import OptionError

T = TypeVar("T")

_BAD: Any = object()
"""What a value that cannot be read becomes; a problem has been noted then."""

FLAT = "flat"
"""Field metadata: the keys of this nested block may stand in the block itself (GFPGAN's layout)."""

UNSET = "none_is_unset"
"""Class attribute: a key that is written `~` is as if it were not there."""

FOREIGN = "foreign"
"""Class attribute of the dataclass that takes blocks whose type comes from a plugin."""


@dataclass
class Notes:
    """What was noticed while a file is read.

    problems: texts "path: what is wrong". ignored: texts of accepted keys that do nothing here.
    old_keys: pattern of a dotted path, `*` for any one name -> why the key is not needed.
    plugins: whether blocks may name types that only plugins know.
    """

    old_keys: Mapping[str, str] = field(default_factory=dict)
    plugins: bool = False
    problems: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def problem(self, path: str, text: str) -> None:
        self.problems.append(f"{path}: {text}" if path else text)


def parse_block(cls: type[T], block: Any, path: str, notes: Notes) -> T | Any:
    """A mapping as the dataclass `cls`; problems go to `notes`, the result is then of no use.

    A dataclass may have `problems(self)` that yields texts "key: what is wrong" about values that
    do not go together; it is asked only where every value was readable.
    """
    if not isinstance(block, Mapping):
        notes.problem(path, f"expected a block of keys, found {_shown(block)}")
        return _BAD
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    block = _gather_flat(block, known, hints)
    if getattr(cls, UNSET, False):
        block = {key: value for key, value in block.items() if value is not None}
    values: dict[str, Any] = {}
    broken = False
    for key, value in block.items():
        name = _attribute(str(key), known)
        where = f"{path}.{key}" if path else str(key)
        if name not in known:
            broken |= not _note_unknown(str(key), where, list(_keys(known, hints)), notes)
            continue
        values[name] = parse_value(hints[name], value, where, notes)
        broken |= values[name] is _BAD
    for name, f in known.items():
        if name not in block and name not in values and _required(f):
            notes.problem(f"{path}.{name}" if path else name, "missing; this key must be given")
            broken = True
    if broken:
        return _BAD
    try:
        made = cls(**values)
        texts = [str(text) for text in getattr(made, "problems", tuple)()]
    except OptionError as error:  # a dataclass that refuses bad values by itself
        made, texts = _BAD, list(getattr(error, "problems", (str(error),)))
    for text in texts:
        notes.problems.append(f"{path}.{text}" if path else text)
    return _BAD if texts else made


def parse_value(hint: Any, value: Any, path: str, notes: Notes) -> Any:
    """A value of an option file as the type that `hint` asks for."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _parse_union(args, value, path, notes)
    if origin is Literal:
        return _parse_choice(args, value, path, notes)
    if origin is tuple:
        return _parse_sequence(args, value, path, notes)
    if origin is not None and issubclass(origin, Mapping):
        return _parse_mapping(args[1], value, path, notes)
    if is_dataclass(hint):
        return parse_block(hint, value, path, notes)  # type: ignore[arg-type]
    read = _SCALARS[hint](value)
    if read is _BAD:
        notes.problem(path, f"expected {_described(hint)}, found {_shown(value)}")
    return read


def _parse_union(args: tuple[Any, ...], value: Any, path: str, notes: Notes) -> Any:
    if value is None and type(None) in args:
        return None
    options = [a for a in args if a is not type(None)]
    blocks = [a for a in options if is_dataclass(a)]
    if blocks and (isinstance(value, Mapping) or len(blocks) == len(options)):
        return _parse_typed(blocks, value, path, notes)
    for option in options:
        # try on a pad of its own: a value that fits one of several types is no problem
        trial = Notes(notes.old_keys, notes.plugins)
        read = parse_value(option, value, path, trial)
        if read is not _BAD:
            return read
    if len(options) == 1:
        return parse_value(options[0], value, path, notes)
    notes.problem(
        path, f"expected {' or '.join(_described(a) for a in options)}, found {_shown(value)}"
    )
    return _BAD


def _parse_typed(blocks: Sequence[Any], value: Any, path: str, notes: Notes) -> Any:
    """One of several dataclasses, told apart by the block's `type`."""
    if len(blocks) == 1:
        return parse_block(blocks[0], value, path, notes)
    if not isinstance(value, Mapping):
        notes.problem(path, f"expected a block of keys with a `type`, found {_shown(value)}")
        return _BAD
    by_name = {name: cls for cls in blocks for name in _type_names(cls)}
    wanted = value.get("type")
    if wanted in by_name:
        return parse_block(by_name[wanted], value, path, notes)
    foreign = [cls for cls in blocks if hasattr(cls, FOREIGN)]
    if foreign and isinstance(wanted, str) and (notes.plugins or ":" in wanted):
        arguments = {k: v for k, v in value.items() if k != "type"}
        return foreign[0](type=wanted, arguments=arguments)
    if wanted is None:
        notes.problem(f"{path}.type", f"missing; expected one of {', '.join(by_name)}")
    else:
        near = _nearest(str(wanted), list(by_name))
        notes.problem(f"{path}.type", f"{wanted!r} is not one of {', '.join(by_name)}{near}")
    return _BAD


def _parse_choice(choices: tuple[Any, ...], value: Any, path: str, notes: Notes) -> Any:
    if any(value == c and type(value) is type(c) for c in choices):
        return value
    switch = "on" if value is True else "off" if value is False else None
    if switch in choices:  # YAML 1.1 reads a bare on or off as true or false
        return switch
    shown = ", ".join(repr(c) for c in choices)
    near = _nearest(str(value), [str(c) for c in choices])
    notes.problem(path, f"{value!r} is not one of {shown}{near}")
    return _BAD


def _parse_sequence(args: tuple[Any, ...], value: Any, path: str, notes: Notes) -> Any:
    if not isinstance(value, (list, tuple)):
        notes.problem(path, f"expected a list, found {_shown(value)}")
        return _BAD
    if len(args) == 2 and args[1] is Ellipsis:
        hints = (args[0],) * len(value)
    else:
        hints = args
        if len(value) != len(hints):
            notes.problem(path, f"expected a list of {len(hints)} values, found {len(value)}")
            return _BAD
    read = [
        parse_value(h, v, f"{path}[{i}]", notes)
        for i, (h, v) in enumerate(zip(hints, value, strict=True))
    ]
    return _BAD if any(r is _BAD for r in read) else tuple(read)


def _parse_mapping(hint: Any, value: Any, path: str, notes: Notes) -> Any:
    if not isinstance(value, Mapping):
        notes.problem(path, f"expected a block of keys, found {_shown(value)}")
        return _BAD
    read = {str(k): parse_value(hint, v, f"{path}.{k}", notes) for k, v in value.items()}
    return _BAD if any(r is _BAD for r in read.values()) else read


def _note_unknown(key: str, path: str, known: list[str], notes: Notes) -> bool:
    """True where the key is an old one that is accepted and not needed."""
    for pattern, reason in notes.old_keys.items():
        if _matches(pattern, path):
            notes.ignored.append(f"{path} is ignored: {reason}")
            return True
    notes.problem(path, f"unknown key{_nearest(key, known) or '; known: ' + ', '.join(known)}")
    return False


def _matches(pattern: str, path: str) -> bool:
    wanted, found = pattern.split("."), path.split(".")
    return len(wanted) == len(found) and all(
        w in ("*", f) for w, f in zip(wanted, found, strict=True)
    )


def _gather_flat(
    block: Mapping[Any, Any], known: Mapping[str, Field[Any]], hints: Mapping[str, Any]
) -> Mapping[Any, Any]:
    """Move keys of a flat nested block that stand beside it into it."""
    for name, f in known.items():
        if not f.metadata.get(FLAT):
            continue
        inner = {g.name for g in fields(_block_of(hints[name]))} - set(known)
        moved = {k: v for k, v in block.items() if k in inner}
        if moved:
            nested = block.get(name)
            nested = nested if isinstance(nested, Mapping) else {}
            block = {k: v for k, v in block.items() if k not in inner}
            block[name] = {**nested, **moved}
    return block


def _keys(known: Mapping[str, Field[Any]], hints: Mapping[str, Any]) -> typing.Iterator[str]:
    """The keys that a block may have, those of its flat nested blocks too."""
    for name, f in known.items():
        yield name
        if f.metadata.get(FLAT):
            yield from (g.name for g in fields(_block_of(hints[name])))


def _block_of(hint: Any) -> Any:
    return next(a for a in (hint, *typing.get_args(hint)) if is_dataclass(a))


def _attribute(key: str, known: Mapping[str, Any]) -> str:
    """The field for a key: `L1_opt` is the field `l1_opt`, names of fields being lower case."""
    return key if key in known else key.lower()


def _type_names(cls: Any) -> tuple[str, ...]:
    hint = typing.get_type_hints(cls).get("type")
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def _required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _nearest(word: str, words: list[str]) -> str:
    lower = {w.lower(): w for w in reversed(words)}
    close = difflib.get_close_matches(word.lower(), list(lower), n=1, cutoff=0.6)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def _read_float(value: Any) -> Any:
    if isinstance(value, bool):
        return _BAD
    try:
        # PyYAML reads 2e-3 as text: YAML 1.1 wants a point and a signed exponent
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except ValueError:
        return _BAD
    return number if math.isfinite(number) else _BAD


def _read_int(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _read_float(value)
    return int(number) if number is not _BAD and number == int(number) else _BAD


_SCALARS: Mapping[Any, Any] = {
    bool: lambda value: value if isinstance(value, bool) else _BAD,
    int: _read_int,
    float: _read_float,
    str: lambda value: value if isinstance(value, str) else _BAD,
}

_DESCRIBED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _described(hint: Any) -> str:
    if hint in _DESCRIBED:
        return _DESCRIBED[hint]
    if typing.get_origin(hint) is Literal:
        return " or ".join(repr(a) for a in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "a list"
    return "a block of keys"


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"


def is_bad(value: Any) -> bool:
    """Whether a parsed value could not be read."""
    return value is _BAD


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
