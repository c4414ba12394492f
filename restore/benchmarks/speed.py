"""Seconds per face: a model in every backend against a plain GFPGAN-size network, in one run."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restore.errors import RestoreError
from restore.runtime.onnx_runtime import cpu_count
from restore.runtime.select import load_runtime

REFERENCE = "plain GFPGAN"
BACKENDS = ("onnxruntime", "openvino", "torch")


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m restore.benchmarks speed [...]`; 0, or 2 with one line on stderr."""
    options = _parser().parse_args(argv)
    threads = options.threads or cpu_count()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = measure(options, threads, Path(folder))
    except RestoreError as error:
        print(f"speed: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report, indent=2) if options.json else format_table(report))
    return 0


def measure(options: argparse.Namespace, threads: int, folder: Path) -> dict[str, Any]:
    """Build everything that was asked for, then time it in turn: what slows one slows all."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    report: dict[str, Any] = {"threads": threads, "repeats": options.repeats, "skipped": {}}
    report["gflop_per_second"] = convolution_rate(options.repeats)
    runs: dict[str, Callable[[], object]] = {}
    gflop: dict[str, float] = {}
    if not options.no_reference:
        network = plain_gfpgan(options.size)
        lq = torch.rand(1, 3, options.size, options.size) * 2 - 1
        runs[REFERENCE], gflop[REFERENCE] = _eager(network, lq), count_gflop(network, lq)
        if options.gfpgan:
            path = _write_gfpgan(network, options.size, folder)
            _add_model(path, "GFPGAN size", options, threads, runs, gflop, report)
    if options.model is not None:
        _add_model(_find(options.model), "model", options, threads, runs, gflop, report)
    report["rows"] = _time_in_turn(runs, options.repeats)
    for name, row in report["rows"].items():
        row["gflop"] = gflop[name]
        row["share_of_rate"] = gflop[name] / row["min"] / report["gflop_per_second"]
    return report


def plain_gfpgan(size: int = 512) -> Any:
    """GFPGAN clean, channel multiplier 2, random weights: eager float32, NCHW, nothing tuned."""
    from restore.networks.gfpgan_encoder import build_gfpgan

    return build_gfpgan(out_size=size).eval().requires_grad_(False)


def convolution_rate(repeats: int) -> float:
    """GFLOP/s of a 3x3 convolution, 256 channels, 64 px, NHWC float32: the machine's measure."""
    import torch
    import torch.nn.functional as F

    x = torch.rand(1, 256, 64, 64).to(memory_format=torch.channels_last)
    weight = torch.rand(256, 256, 3, 3).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        row = _time_in_turn({"conv": lambda: F.conv2d(x, weight, padding=1)}, 4 * repeats)["conv"]
    return 2 * 9 * 256 * 256 * 64 * 64 / row["min"] / 1e9


def count_gflop(network: Any, *inputs: Any) -> float:
    """GFLOP of one pass: two for each multiplication and addition of convolutions and products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return counter.get_total_flops() / 1e9


def format_table(report: dict[str, Any]) -> str:
    """The report as text; ratios are against the plain network of the same run."""
    rows = report["rows"]
    lines = [
        f"{report['threads']} threads, {report['repeats']} repeats; 3x3 convolutions at "
        f"{report['gflop_per_second']:.0f} GFLOP/s (torch, NHWC, float32)",
        f"{'':<28}{'min s':>8}{'median s':>10}{'cpu s':>8}{'GFLOP':>8}{'of rate':>9}{'ratio':>8}",
    ]
    for name, row in rows.items():
        ratio = f"{rows[REFERENCE]['min'] / row['min']:.1f}x" if REFERENCE in rows else ""
        lines.append(
            f"{name:<28}{row['min']:>8.3f}{row['median']:>10.3f}{row['cpu']:>8.3f}"
            f"{row['gflop']:>8.1f}{row['share_of_rate']:>9.2f}{ratio:>8}"
        )
    lines += [f"{name}: not measured: {reason}" for name, reason in report["skipped"].items()]
    return "\n".join(lines)


def _add_model(
    path: Path,
    label: str,
    options: argparse.Namespace,
    threads: int,
    runs: dict[str, Callable[[], object]],
    gflop: dict[str, float],
    report: dict[str, Any],
) -> None:
    """Add a model file in every backend that can run it; others are listed with the reason."""
    import torch

    from restore.checkpoints.load import load_network

    cost: float | None = None
    for backend in options.backends.split(","):
        name = f"{label}, {backend}"
        start = time.perf_counter()
        try:
            runtime = load_runtime(path, backend, "cpu", threads, options.precision)
        except RestoreError as error:
            report["skipped"][name] = str(error)
            continue
        report.setdefault("load_seconds", {})[name] = time.perf_counter() - start
        size = runtime.crop_size
        crop = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
        if cost is None:
            cost = count_gflop(
                load_network(path).requires_grad_(False), torch.zeros(1, 3, size, size)
            )
        runs[name], gflop[name] = _bound(runtime.run, crop), cost


def _bound(run: Callable[..., object], crop: np.ndarray) -> Callable[[], object]:
    return lambda: run(crop, 1.0)


def _eager(network: Any, lq: Any) -> Callable[[], object]:
    import torch

    def run() -> object:
        with torch.inference_mode():
            return network(lq)

    return run


def _write_gfpgan(network: Any, size: int, folder: Path) -> Path:
    import torch

    from restore.checkpoints.model_file import save_model_file
    from restore.runtime.export import export_model

    path = folder / "gfpgan.safetensors"
    header = {
        "architecture": "gfpgan_clean",
        "arguments": {"out_size": size},
        "crop_size": size,
    }
    save_model_file(path, network, header, torch.float32)
    export_model(path)
    return path


def _find(model: str) -> Path:
    from restore.checkpoints.download import locate_model

    return Path(model) if os.path.isfile(model) else locate_model(model)


def _time_in_turn(
    runs: dict[str, Callable[[], object]], repeats: int
) -> dict[str, dict[str, float]]:
    """Each of `runs` once per repeat, after a warm-up: min and median of wall time, min of CPU."""
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("restore.benchmarks speed", description=__doc__)
    add = parser.add_argument
    add("--model", default="default", help="model file or name; default: %(default)s")
    add("--no-model", dest="model", action="store_const", const=None, help="only the GFPGAN size")
    add("--backends", default=",".join(BACKENDS), help="default: %(default)s")
    add("--gfpgan", action="store_true", help="the GFPGAN-size network in the backends, too")
    add("--no-reference", action="store_true", help="no plain GFPGAN-size network, no ratios")
    add("--size", type=int, default=512, help="crop of the GFPGAN-size network; default 512")
    add("--precision", default="float32", help="float32 or, where the CPU has it, bfloat16")
    add("--threads", type=int, help="default: all cores")
    add("--repeats", type=int, default=5, help="default: %(default)s")
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser
