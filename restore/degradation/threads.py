"""Spreading samples over the threads of a CPU, each sample on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")


@contextmanager
def one_thread(device: torch.device) -> Iterator[int]:
    """torch's operations take one thread within, on a CPU; gives how many they may take outside.

    Spreading single operations of small pictures takes longer than they do, and a hundred times
    longer when another process holds one of the cores, for which all others then wait.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu":
        yield threads
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def each_on_one_thread(work: Callable[[Item], None], items: Sequence[Item], threads: int) -> None:
    """Calls work (without gradients) for every item, on so many threads; within `one_thread`."""

    def alone(item: Item) -> None:
        # whether gradients are kept is a thread's own setting
        with torch.no_grad():
            work(item)

    if threads == 1 or len(items) < 2:
        for item in items:
            alone(item)
        return
    # so is the number of threads that operations take
    with ThreadPoolExecutor(min(threads, len(items)), initializer=_take_one_thread) as pool:
        for _ in pool.map(alone, items):
            pass


def _take_one_thread() -> None:
    torch.set_num_threads(1)
