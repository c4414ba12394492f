"""Spreading samples over the threads of a CPU, each sample on one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")


def each_on_one_thread(work: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Calls work (without gradients) for every item, on as many threads as torch may use.

    torch would spread every single operation instead: of a small picture that takes longer than the
    operation, and a hundred times longer when another process holds one of the cores, for which
    all others then wait.
    """

    def alone(item: Item) -> None:
        # whether gradients are kept is a thread's own setting
        with torch.no_grad():
            work(item)

    threads = torch.get_num_threads()
    if threads == 1 or len(items) < 2:
        try:
            torch.set_num_threads(1)
            for item in items:
                alone(item)
        finally:
            torch.set_num_threads(threads)
        return
    try:
        # the number of threads that operations take is each thread's own setting, too ...
        with ThreadPoolExecutor(min(threads, len(items)), initializer=_take_one_thread) as pool:
            for _ in pool.map(alone, items):
                pass
    finally:
        # ... but also what threads to come start with
        torch.set_num_threads(threads)


def _take_one_thread() -> None:
    torch.set_num_threads(1)
