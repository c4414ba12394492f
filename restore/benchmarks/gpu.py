"""Faces per second on a GPU: the runtime with shared batches against plain eager GFPGAN."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restore.benchmarks.plain_gfpgan import PlainGFPGAN, random_gfpgan
from restore.benchmarks.speed import find_model, smooth_crop, write_gfpgan
from restore.errors import DeviceError
from restore.runtime.export_check import image_psnr
from restore.runtime.torch_runtime import TorchRuntime

PLAIN = "plain GFPGAN, eager float32, one face"
PRECISIONS = ("float32", "bfloat16", "float16")


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each network and precision; DeviceError where the device is not there."""
    parser = argparse.ArgumentParser("restore.benchmarks gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cpu to try it out; default: %(default)s")
    parser.add_argument("--model", default="default", help="model file or name")
    parser.add_argument("--size", type=int, default=512, help="crop of the GFPGAN-size network")
    parser.add_argument("--batch", type=int, default=16, help="faces at once; default: 16")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each candidate")
    options = parser.parse_args(argv)
    for line in measure(options):
        print(line, flush=True)
    return 0


def measure(options: argparse.Namespace) -> list[str]:
    """The table: faces/s from uint8 on the host to uint8 on the host, ratio, dB from float32."""
    import torch

    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("there is no CUDA device; --device cpu tries the benchmark out")
    torch.manual_seed(0)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    lines = [f"{name}; torch {torch.__version__}", f"{'':<44}{'faces/s':>9}{'ratio':>8}{'dB':>7}"]
    network = random_gfpgan(options.size)
    with tempfile.TemporaryDirectory() as folder:
        path = write_gfpgan(network, options.size, Path(folder), graph=False)
        base = _plain(PlainGFPGAN(network).to(device), options, device)
        lines.append(f"{PLAIN:<44}{base:>9.2f}{'1.0x':>8}")
        print(lines[-1], file=sys.stderr)
        models = {"GFPGAN size": path, "default model": find_model(options.model)}
        for label, file in models.items():
            exact: np.ndarray | None = None
            for precision in PRECISIONS:
                runtime = TorchRuntime(file, options.device, precision=precision)
                crops = np.repeat(smooth_crop(runtime.crop_size), options.batch, axis=0)
                image = runtime.run(crops, 1.0)[0][:1] / 127.5 - 1
                exact = image if exact is None else exact
                rate = _faces_per_second(_call(runtime, crops), len(crops), options.seconds)
                psnr = min(image_psnr(image, exact), 99.9)
                text = f"{label}, {precision}, {options.batch} faces"
                lines.append(f"{text:<44}{rate:>9.2f}{rate / base:>7.1f}x{psnr:>7.1f}")
                print(lines[-1], file=sys.stderr)
    return lines


def _call(runtime: TorchRuntime, crops: np.ndarray) -> Callable[[], object]:
    return lambda: runtime.run(crops, 1.0)


def _plain(network: Any, options: argparse.Namespace, device: Any) -> float:
    """GFPGANer's way: a face at a time, float32 both ways over the bus."""
    import torch

    lq = torch.from_numpy(smooth_crop(options.size)).permute(0, 3, 1, 2) / 127.5 - 1
    lq = lq.contiguous()

    def run() -> object:
        with torch.inference_mode():
            return network(lq.to(device)).cpu()

    return _faces_per_second(run, 1, options.seconds)


def _faces_per_second(run: Callable[[], object], faces: int, seconds: float) -> float:
    """Best of the rates of single calls for `seconds`, after one warm-up; results are fetched."""
    run()
    best, end = 0.0, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        best = max(best, faces / (now - start))
        if now >= end:
            return best
