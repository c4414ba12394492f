"""Validation in the loop: averaged weights, fixed seeds, images shared out over the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from restore.metrics.table import MetricSuite
from restore.training.distributed import Ranks
from restore.training.picture_grid import save_grid

Restore = Callable[[Tensor, float, int], Tensor]
"""(lq [n,3,s,s], fidelity, size of gt in px) -> restored [n,3,size,size] in about [-1,1]."""


@dataclass(frozen=True)
class Pair:
    """`lq`, `gt` [n,3,s,s] RGB in [-1,1] on the device; `mask` [n,1,s,s] or None."""

    lq: Tensor
    gt: Tensor
    mask: Tensor | None = None


class PairSource(Protocol):
    """A validation set: pictures by number, the same at every validation."""

    def __len__(self) -> int: ...

    def pairs(self, numbers: Sequence[int]) -> Pair:
        """The pairs of these numbers."""
        ...


@dataclass(frozen=True)
class ValidationSet:
    """A named set of pairs, and how many are restored at a time."""

    name: str
    source: PairSource
    batch_size: int = 4


@torch.no_grad()
def validate_set(
    restore: Restore,
    validation: ValidationSet,
    suites: Callable[[], MetricSuite],
    fidelities: Sequence[float],
    ranks: Ranks,
    baseline: bool = False,
) -> dict[str, float]:
    """Metrics of one set: "NAME/metric" at the first fidelity, "NAME/metric@f" at the others.

    Rank r measures pairs r, r + world, ...; the states are added up. `baseline` measures the bad
    pictures as well, as "NAME/metric@lq".
    """
    columns: dict[str, MetricSuite] = {f"@{f:g}": suites() for f in fidelities}
    if baseline:
        columns["@lq"] = suites()
    for numbers in shard(len(validation.source), validation.batch_size, ranks):
        pair = validation.source.pairs(numbers)
        size = pair.gt.shape[-1]
        for fidelity in fidelities:
            restored = restore(pair.lq, fidelity, size)
            columns[f"@{fidelity:g}"].update(restored, pair.gt, pair.mask)
        if baseline:
            columns["@lq"].update(pair.lq, pair.gt, pair.mask)
    values = {}
    for index, (label, suite) in enumerate(columns.items()):
        for metric, value in merged_over_ranks(suite, suites, ranks).result().items():
            values[f"{validation.name}/{metric}{label if index else ''}"] = value
    return values


@torch.no_grad()
def save_pictures(
    restore: Restore,
    validation: ValidationSet,
    fidelities: Sequence[float],
    count: int,
    path: Path,
) -> None:
    """A grid of the first `count` pairs: LQ | restored at each fidelity | GT."""
    rows: list[list[Tensor]] = []
    numbers = list(range(min(count, len(validation.source))))
    for start in range(0, len(numbers), validation.batch_size):
        pair = validation.source.pairs(numbers[start : start + validation.batch_size])
        size = pair.gt.shape[-1]
        restored = [restore(pair.lq, f, size).cpu() for f in fidelities]
        rows.append([pair.lq.cpu(), *restored, pair.gt.cpu()])
    if rows:
        save_grid(path, [torch.cat(column) for column in zip(*rows, strict=True)])


def shard(count: int, batch_size: int, ranks: Ranks) -> Iterator[list[int]]:
    """The numbers of this rank, in batches."""
    own = list(range(ranks.rank, count, ranks.world))
    for start in range(0, len(own), batch_size):
        yield own[start : start + batch_size]


def merged_over_ranks(
    suite: MetricSuite, suites: Callable[[], MetricSuite], ranks: Ranks
) -> MetricSuite:
    """The suite with the states of all ranks; a rank without pictures has none."""
    if ranks.world == 1:
        return suite
    states: list[Mapping[str, Tensor]] = [{}] * ranks.world
    dist.all_gather_object(states, suite.state())
    whole = suites()
    for state in states:
        part = suites()
        part.load_state(state)
        whole.merge(part)
    return whole


def better(name: str, value: float, best: Mapping[str, float], higher: bool) -> bool:
    """Whether `value` beats the best one so far."""
    if value != value:
        return False
    return name not in best or (value > best[name] if higher else value < best[name])
