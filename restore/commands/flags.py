"""Flags of the command line made from the fields of option dataclasses, and back."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def add_flags(
    parser: argparse._ActionsContainer, options: type, without: Collection[str] = ()
) -> None:
    """A flag for each field that has one (`restore.pipeline.options.flag`), nested groups too.

    `without`: names of fields that this command does not have.
    """
    for one in _flagged(options):
        if one.name in without:
            continue
        how = one.metadata
        given: dict[str, Any] = {"dest": one.name, "help": how["help"], "default": None}
        if isinstance(one.default, bool):
            given |= {"action": "store_const", "const": not one.default}
        else:
            given |= {key: how[key] for key in ("choices", "metavar") if key in how}
            if "kind" in how:
                given["type"] = how["kind"]
            if "choices" in how and "default" not in how["help"]:
                given["help"] += f"; default: {one.default}"
        parser.add_argument(*how["flags"], **given)


def from_flags(arguments: argparse.Namespace, options: type[T], **fixed: Any) -> T:
    """The dataclass that parsed flags say; fields whose flag was not given keep their default."""
    values = dict(fixed)
    for one in fields(options):  # type: ignore[arg-type]
        group = _group(one)
        if one.name in values:
            continue
        if group is not None:
            values[one.name] = from_flags(arguments, group)
        elif getattr(arguments, one.name, None) is not None:
            values[one.name] = getattr(arguments, one.name)
    return options(**values)


def _flagged(options: type) -> Iterator[Field[Any]]:
    for one in fields(options):
        group = _group(one)
        if group is not None:
            yield from _flagged(group)
        elif one.metadata.get("flags"):
            yield one


def _group(one: Field[Any]) -> type | None:
    """The dataclass of a field that is a group of options."""
    factory = one.default_factory
    return factory if factory is not MISSING and is_dataclass(factory) else None
