"""Images per second of degradation: the classical cv2/numpy loop and ours, in one run."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from restore.degradation.canvas import full_canvas
from restore.degradation.degrade import degrade, draw_stages
from restore.degradation.draws import Draws
from restore.degradation.passes import add_noise, blur_and_resize, compress
from restore.degradation.recipes import RECIPES
from restore.degradation.resize import resize_each


class Rate(NamedTuple):
    """Images per second of wall clock, and milliseconds of CPU time (all threads) an image.

    On a machine that others use as well, only the CPU time tells anything.
    """

    images: float
    cpu_ms: float


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m restore.benchmarks degradation`: prints the tables."""
    parser = argparse.ArgumentParser(prog="restore.benchmarks degradation", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recipes", nargs="+", default=["gfpgan", "restore_default"])
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    print(f"torch {torch.__version__}, OpenCV {cv2.__version__}, {platform.machine()}")
    print(f"load average at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("images per second, wall clock, each draw at the best of its repetitions")
    for size in args.sizes:
        print(f"\n{size} px")
        faces = example_faces(8, size)
        pixels = ((faces.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()
        one = _rate(_classical_run(pixels), 1, args.seconds)
        _row("classical gfpgan, 1 core", one)
        _row(f"classical gfpgan, {args.cores} processes", _parallel(pixels, args, one.images))
        for recipe in args.recipes:
            for batch in args.batches:
                gt = example_faces(batch, size)
                for cores in sorted({1, args.cores}):
                    torch.set_num_threads(cores)
                    rate = _rate(_our_run(gt, recipe), batch, args.seconds)
                    _row(f"ours {recipe}, batch {batch}, {cores} threads", rate)
                if torch.cuda.is_available():
                    rate = _rate(_our_run(gt.cuda(), recipe), batch, args.seconds)
                    _row(f"ours {recipe}, batch {batch}, GPU", rate)
        torch.set_num_threads(1)
        _shares(example_faces(16, size))
    return 0


def example_faces(n: int, size: int) -> Tensor:
    """`[n,3,size,size]` in [-1,1]: smooth patches with fine texture."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((n, 3, 16, 16), generator=generator) * 1.6 - 0.8
    fine = torch.randn((n, 3, size, size), generator=generator) * 0.05
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return (smooth + fine).clamp(-1, 1)


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
    return np.clip((x * 255).round(), 0, 255) / np.float32(127.5) - 1


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
    return kernel / kernel.sum()


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


def _classical_run(pixels: np.ndarray) -> Callable[[int], object]:
    return lambda i: classical_gfpgan(pixels[i % len(pixels)], np.random.default_rng(i))


def _our_run(gt: Tensor, recipe: str) -> Callable[[int], object]:
    def run(i: int) -> object:
        made = degrade(gt, recipe, torch.Generator().manual_seed(i))
        if gt.is_cuda:
            torch.cuda.synchronize()
        return made

    return run


def _rate(run: Callable[[int], object], batch: int, seconds: float) -> Rate:
    """Over the same 12 draws (3 of large batches), each at the best of its repetitions."""
    draws = 12 if batch < 64 else 3
    best, cpu = [math.inf] * draws, [math.inf] * draws
    run(0)
    end = time.perf_counter() + seconds
    done = 0
    while done < draws or (time.perf_counter() < end):
        start, worked = time.perf_counter(), time.process_time()
        run(done % draws)
        best[done % draws] = min(best[done % draws], time.perf_counter() - start)
        cpu[done % draws] = min(cpu[done % draws], time.process_time() - worked)
        done += 1
    return Rate(batch * draws / sum(best), 1000 * sum(cpu) / (batch * draws))


def _parallel(pixels: np.ndarray, args: argparse.Namespace, one: float) -> Rate:
    """The classical loop in as many processes as cores: images per second of all together."""
    each = max(int(one * args.seconds), 4)
    with multiprocessing.get_context("spawn").Pool(args.cores) as pool:
        pool.starmap(_classical_many, [(pixels, 2, k) for k in range(args.cores)])
        best = math.inf
        for _ in range(3):
            start = time.perf_counter()
            pool.starmap(_classical_many, [(pixels, each, k) for k in range(args.cores)], 1)
            best = min(best, time.perf_counter() - start)
    return Rate(each * args.cores / best, math.nan)


def _classical_many(pixels: np.ndarray, count: int, seed: int) -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    for i in range(count):
        classical_gfpgan(pixels[i % len(pixels)], rng)


def _row(name: str, rate: Rate) -> None:
    cpu = "" if math.isnan(rate.cpu_ms) else f"{rate.cpu_ms:9.2f} ms CPU an image"
    print(f"  {name:44s} {rate.images:9.1f}/s {cpu}")


def _shares(gt: Tensor) -> None:
    """The share of each operation of the gfpgan recipe on one thread, colour aside."""
    n, _, h, w = gt.shape
    stage = draw_stages(RECIPES["gfpgan"], Draws(np.arange(n, dtype=np.uint64)), (h, w))[0]
    spent = dict.fromkeys(
        ("blur iso + resize", "blur aniso + resize", "noise", "JPEG", "back"), 0.0
    )
    for i in range(n):
        one = stage.take(np.array([i]))
        canvas = full_canvas(gt[i : i + 1] * 0.5 + 0.5)
        first = "blur iso + resize" if one.separable.all() else "blur aniso + resize"
        steps: tuple[tuple[str, Callable], ...] = (
            (first, lambda c, d=one: blur_and_resize(c, d)),
            ("noise", lambda c, d=one: add_noise(c, d)),
            ("JPEG", lambda c, d=one: compress(c, d, "420")),
            ("back", lambda c: resize_each(c, [(h, w)], ["bilinear"])),
        )
        for name, step in steps:
            best, out = math.inf, canvas
            for _ in range(4):
                start = time.perf_counter()
                out = step(canvas)
                best = min(best, time.perf_counter() - start)
            spent[name] += best
            canvas = out
    total = sum(spent.values())
    parts = ", ".join(f"{name} {100 * t / total:.0f}%" for name, t in spent.items())
    print(f"  shares, 1 thread, {1000 * total / n:.1f} ms a picture: {parts}")
