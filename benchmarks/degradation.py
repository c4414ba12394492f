"""Images per second of degradation: the classical cv2/numpy loop and ours, on the same pictures."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from restore.degradation.degrade import degrade
from restore.runtime.contract import keep_freed_memory


def classical_gfpgan(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """GFPGAN's recipe for one picture, as its dataset class does it with cv2 and numpy.

    uint8 `[h,w,3]` in, float32 in [-1,1] out; the numbers are those of the recipe `gfpgan`.
    """
    h, w = image.shape[:2]
    x: Any = image.astype(np.float32) / 255
    x = cv2.filter2D(x, -1, _classical_kernel(rng))
    scale = rng.uniform(0.8, 8)
    x = cv2.resize(x, (int(w // scale), int(h // scale)), interpolation=cv2.INTER_LINEAR)
    noise = rng.standard_normal(x.shape, dtype=np.float32) * (rng.uniform(0, 20) / 255)
    x = np.clip(x + noise, 0, 1)
    coding = [int(cv2.IMWRITE_JPEG_QUALITY), int(rng.uniform(60, 100))]
    _, file = cv2.imencode(".jpg", (x * 255).round().astype(np.uint8), coding)
    decoded: Any = cv2.imdecode(file, cv2.IMREAD_COLOR)
    x = decoded.astype(np.float32) / 255
    x = cv2.resize(x, (w, h), interpolation=cv2.INTER_LINEAR)
    if rng.uniform() < 0.3:
        x = np.clip(x + rng.uniform(-20 / 255, 20 / 255, 3).astype(np.float32), 0, 1)
    if rng.uniform() < 0.01:
        x = np.tile(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY)[..., None], 3)
    if rng.uniform() < 0.3:
        x = _classical_jitter(x, rng)
    found: np.ndarray = np.clip((x * 255).round(), 0, 255) / np.float32(127.5) - 1
    return found


def _classical_kernel(rng: np.random.Generator) -> np.ndarray:
    # basicsr's random_mixed_kernels for iso and aniso at 41 px: a mesh, a quadratic form, an exp
    isotropic = rng.uniform() < 0.5
    sx = rng.uniform(0.1, 10)
    sy, theta = (sx, 0.0) if isotropic else (rng.uniform(0.1, 10), rng.uniform(-math.pi, math.pi))
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    inverse = np.linalg.inv(turn @ np.diag([sx**2, sy**2]) @ turn.T)
    line = np.arange(-20.0, 21.0)
    grid = np.stack(np.meshgrid(line, line), -1)
    kernel = np.exp(-0.5 * np.sum(grid @ inverse * grid, 2))
    found: np.ndarray = kernel / kernel.sum()
    return found


def _classical_jitter(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    for which in rng.permutation(4):
        if which == 0:
            x = np.clip(x * rng.uniform(0.5, 1.5), 0, 1)
        elif which == 1:
            mean = cv2.cvtColor(x, cv2.COLOR_BGR2GRAY).mean()
            x = np.clip((x - mean) * np.float32(rng.uniform(0.5, 1.5)) + mean, 0, 1)
        elif which == 2:
            gray = cv2.cvtColor(x, cv2.COLOR_BGR2GRAY)[..., None]
            x = np.clip((x - gray) * np.float32(rng.uniform(0, 1.5)) + gray, 0, 1)
        else:
            hsv = cv2.cvtColor(x, cv2.COLOR_BGR2HSV)
            hsv[..., 0] = (hsv[..., 0] + 360 * rng.uniform(-0.1, 0.1)) % 360
            x = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        x = x.astype(np.float32)
    return x


class Spent(NamedTuple):
    """Seconds of one sweep over all pictures: wall clock, and CPU time of all threads.

    On a machine that others use as well, only the CPU time tells anything.
    """

    wall: float
    cpu: float


Sweep = Callable[[], Spent]


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m benchmarks degradation`: prints the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks degradation", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--images", type=int, default=64, help="pictures of a sweep")
    parser.add_argument("--rounds", type=int, default=3, help="sweeps of each row; the best counts")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recipes", nargs="+", default=["gfpgan", "restore_default"])
    args = parser.parse_args(argv)
    _prepare()
    print(f"torch {torch.__version__}, OpenCV {cv2.__version__}, {platform.machine()}")
    print(f"load average at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{args.images} pictures a sweep, rows take turns, the best of {args.rounds} sweeps each")
    with multiprocessing.get_context("spawn").Pool(args.cores, _prepare) as pool, torch.no_grad():
        for size in args.sizes:
            print(f"\n{size} px")
            faces = example_faces(args.images, size)
            sweeps: dict[str, Sweep] = {
                "classical gfpgan, 1 core": partial(_timed, partial(_classical, faces))
            }
            for recipe in args.recipes:
                sweeps |= _our_sweeps(faces, recipe, args.batches, args.cores)
            _print_rows(_race(sweeps, args.rounds, args.images))
            parallel: dict[str, Sweep] = {}
            for recipe in (None, *args.recipes):
                name = f"ours {recipe}" if recipe else "classical gfpgan"
                job = (args.images, size, recipe, 8)
                parallel[f"{name}, {args.cores} processes"] = partial(
                    _in_pool, pool, args.cores, job
                )
            _print_rows(_race(parallel, args.rounds, args.images * args.cores))
            for recipe in args.recipes:
                with multiprocessing.get_context("spawn").Pool(1, _prepare) as fresh:
                    growth = fresh.apply(_memory, (max(args.batches), size, recipe))
                print(f"  memory of {recipe}, batch {max(args.batches)}: {growth}", flush=True)
    return 0


def example_faces(n: int, size: int) -> Tensor:
    """`[n,3,size,size]` in [-1,1]: smooth patches with fine texture."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((n, 3, 16, 16), generator=generator) * 1.6 - 0.8
    fine = torch.randn((n, 3, size, size), generator=generator) * 0.05
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return (smooth + fine).clamp(-1, 1)


def _prepare() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    keep_freed_memory()


def _classical(faces: Tensor) -> None:
    pixels = ((faces.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()
    for i, image in enumerate(pixels):
        classical_gfpgan(image, np.random.default_rng(i))


def _ours(faces: Tensor, recipe: str, batch: int) -> None:
    for first in range(0, len(faces), batch):
        part = faces[first : first + batch]
        degrade(part, recipe, seeds=range(first, first + len(part)))
    if faces.is_cuda:
        torch.cuda.synchronize()


def _our_sweeps(faces: Tensor, recipe: str, batches: Sequence[int], cores: int) -> dict[str, Sweep]:
    sweeps: dict[str, Sweep] = {}
    for batch in batches:
        for threads in sorted({1, cores}):
            name = f"ours {recipe}, batch {batch}, {threads} thread{'s' * (threads > 1)}"
            sweeps[name] = partial(_timed, partial(_ours, faces, recipe, batch), threads)
        if torch.cuda.is_available():
            run = partial(_ours, faces.cuda(), recipe, batch)
            sweeps[f"ours {recipe}, batch {batch}, GPU"] = partial(_timed, run)
    return sweeps


def _timed(run: Callable[[], object], threads: int = 1) -> Spent:
    torch.set_num_threads(threads)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    spent = Spent(time.perf_counter() - wall, time.process_time() - cpu)
    torch.set_num_threads(1)
    return spent


def _in_pool(pool: Pool, processes: int, job: tuple[int, int, str | None, int]) -> Spent:
    """Every process degrades its own pictures; the CPU time is the sum of all."""
    spent = pool.starmap(_one_process, [job] * processes, 1)
    starts, ends, cpu = zip(*spent, strict=True)
    return Spent(max(ends) - min(starts), sum(cpu))


def _one_process(
    images: int, size: int, recipe: str | None, batch: int
) -> tuple[float, float, float]:
    faces = example_faces(images, size)
    start, cpu = time.time(), time.process_time()
    with torch.no_grad():
        _classical(faces) if recipe is None else _ours(faces, recipe, batch)
    return start, time.time(), time.process_time() - cpu


def _race(sweeps: dict[str, Sweep], rounds: int, images: int) -> dict[str, Spent]:
    """The least seconds an image of each, taking turns, after a first round that does not count."""
    best: dict[str, Spent] = {}
    for turn in range(rounds + 1):
        for name, sweep in sweeps.items():
            spent = Spent(*(value / images for value in sweep()))
            old = best.get(name, Spent(math.inf, math.inf))
            if turn:
                best[name] = Spent(min(old.wall, spent.wall), min(old.cpu, spent.cpu))
    return best


def _print_rows(rows: dict[str, Spent]) -> None:
    """The first row is what the others are compared with."""
    classical = next(iter(rows.values()))
    for name, spent in rows.items():
        print(
            f"  {name:44s} {1 / spent.wall:8.1f}/s  {1000 * spent.cpu:7.2f} ms CPU an image, "
            f"{classical.cpu / spent.cpu:5.2f} x the classical loop",
            flush=True,
        )


def _memory(batch: int, size: int, recipe: str) -> str:
    """What degrading a batch adds to the peak memory of a process that has done one picture."""
    # few faces, over and over: what making them takes must not hide what degrading them takes
    faces = example_faces(4, size).repeat(-(-batch // 4), 1, 1, 1)[:batch]
    degrade(faces[:1], recipe, seeds=[0])
    before = _peak_mb()
    degrade(faces, recipe, seeds=range(batch))
    growth = _peak_mb() - before
    held = faces.numel() * 4 / 2**20
    said = f"peak +{growth:.0f} MB, of which lq and gt are {2 * held:.0f} MB"
    if torch.cuda.is_available():
        on_device = faces.cuda()
        torch.cuda.reset_peak_memory_stats()
        degrade(on_device, recipe, seeds=range(batch))
        said += f"; GPU peak {torch.cuda.max_memory_allocated() / 2**20:.0f} MB with {held:.0f} gt"
    return said


def _peak_mb() -> float:
    # of this process alone: getrusage would go on counting what the one before the exec had
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return math.nan
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
