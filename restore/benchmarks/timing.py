"""Candidates timed in turn, and the machine's own measure: the rate of its convolutions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Run = Callable[[], object]


def time_in_turn(runs: Mapping[str, Run], repeats: int) -> dict[str, dict[str, float]]:
    """Each of `runs` once per repeat, in turn: what slows one down slows all.

    Each time a call that does not count comes first: what the one before left in the caches, and
    its threads that still wait for work, are not this one's cost. Per name `min` and `median` of
    wall seconds, and `cpu`: least seconds of processor time, of all threads, which other programs
    hardly touch.
    """
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            run()
            begin, used = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - begin)
            cpu[name].append(time.process_time() - used)
    return {
        name: {
            "min": min(wall[name]),
            "median": statistics.median(wall[name]),
            "cpu": min(cpu[name]),
        }
        for name in runs
    }


def convolution_rate(repeats: int, precision: str = "float32") -> dict[str, float]:
    """GFLOP/s of a 3x3 convolution, 256 channels, 64 px, NHWC, torch; by wall and by CPU time."""
    import torch
    import torch.nn.functional as F

    dtype = getattr(torch, precision)
    x = torch.rand(1, 256, 64, 64).to(dtype=dtype, memory_format=torch.channels_last)
    weight = torch.rand(256, 256, 3, 3).to(dtype=dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        row = time_in_turn({"conv": lambda: F.conv2d(x, weight, padding=1)}, 4 * repeats)["conv"]
    gflop = 2 * 9 * 256 * 256 * 64 * 64 / 1e9
    return {"wall": gflop / row["min"], "cpu": gflop / row["cpu"]}


def count_gflop(network: Any, *inputs: Any) -> float:
    """GFLOP of one pass: two for each multiplication and addition of convolutions and products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return counter.get_total_flops() / 1e9
