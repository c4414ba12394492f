"""Seconds: a face in every backend against plain GFPGAN in one run, and photos stage by stage."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restore.benchmarks.photo_stages import STAGES_SIZES, stage_table
from restore.benchmarks.timing import Run, convolution_rate, count_gflop, time_in_turn
from restore.errors import RestoreError
from restore.runtime.export_check import image_psnr
from restore.runtime.onnx_runtime import cpu_count
from restore.runtime.precision import cpu_has_bfloat16
from restore.runtime.select import load_runtime

REFERENCE = "plain GFPGAN"
BACKENDS = ("onnxruntime", "openvino", "torch")


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m restore.benchmarks speed [...]`; 0, or 2 with one line on stderr."""
    options = _parser().parse_args(argv)
    threads = options.threads or cpu_count()
    try:
        if not options.no_faces:
            with tempfile.TemporaryDirectory() as folder:
                report = measure(options, threads, Path(folder))
            print(json.dumps(report, indent=2) if options.json else format_table(report))
        if options.photo is not None:
            print(stage_table(options.photo, options.model or "default", options.megapixels))
    except RestoreError as error:
        print(f"speed: {error}", file=sys.stderr)
        return 2
    return 0


def measure(options: argparse.Namespace, threads: int, folder: Path) -> dict[str, Any]:
    """Build everything that was asked for, then time it in turn: what slows one slows all."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    report: dict[str, Any] = {"threads": threads, "repeats": options.repeats, "skipped": {}}
    rate = convolution_rate(options.repeats)
    report["gflop_per_second"], report["gflop_per_cpu_second"] = rate["wall"], rate["cpu"]
    if cpu_has_bfloat16():
        report["bfloat16"] = convolution_rate(options.repeats, "bfloat16")["wall"]
    runs: dict[str, Run] = {}
    gflop: dict[str, float] = {}
    if not options.no_reference:
        _add_reference(options, threads, folder, runs, gflop, report)
    if options.model is not None:
        _add_model(find_model(options.model), "model", options, threads, runs, gflop, report)
    report["rows"] = time_in_turn(runs, options.repeats)
    for name, row in report["rows"].items():
        row["gflop"] = gflop[name]
        row["share_of_rate"] = gflop[name] / row["min"] / report["gflop_per_second"]
        row["share_of_cpu_rate"] = gflop[name] / row["cpu"] / report["gflop_per_cpu_second"]
        row |= report.get("psnr", {}).get(name, {})
    return report


def _add_reference(
    options: argparse.Namespace,
    threads: int,
    folder: Path,
    runs: dict[str, Run],
    gflop: dict[str, float],
    report: dict[str, Any],
) -> None:
    import torch

    from restore.benchmarks.plain_gfpgan import PlainGFPGAN, random_gfpgan

    network = random_gfpgan(options.size)
    plain = PlainGFPGAN(network)
    lq = torch.from_numpy(smooth_crop(options.size)).permute(0, 3, 1, 2) / 127.5 - 1
    lq = lq.contiguous()

    def run() -> object:
        with torch.inference_mode():
            return plain(lq)

    runs[REFERENCE], gflop[REFERENCE] = run, count_gflop(network, lq)
    if options.gfpgan:
        path = write_gfpgan(network, options.size, folder)
        _add_model(path, "GFPGAN size", options, threads, runs, gflop, report)


def format_table(report: dict[str, Any]) -> str:
    """The report as text; ratios are against the plain network of the same run."""
    rows = report["rows"]
    narrow = f", {report['bfloat16']:.0f} in bfloat16" if "bfloat16" in report else ""
    lines = [
        f"{report['threads']} threads, {report['repeats']} repeats; 3x3 convolutions at "
        f"{report['gflop_per_second']:.0f} GFLOP/s (torch, NHWC, float32{narrow}), "
        f"{report['gflop_per_cpu_second']:.0f} per second of a core",
        f"{'':<34}{'min s':>8}{'median':>8}{'cpu s':>8}{'GFLOP':>8}{'of rate':>9}{'ratio':>8}"
        f"{'by cpu':>8}{'dB':>7}",
    ]
    for name, row in rows.items():
        ratios = ["", ""]
        if REFERENCE in rows:
            ratios = [f"{rows[REFERENCE][key] / row[key]:.1f}x" for key in ("min", "cpu")]
        psnr = f"{row['psnr']:.1f}" if "psnr" in row else ""
        share = max(row["share_of_rate"], row["share_of_cpu_rate"])
        lines.append(
            f"{name:<34}{row['min']:>8.3f}{row['median']:>8.3f}{row['cpu']:>8.3f}"
            f"{row['gflop']:>8.1f}{share:>9.2f}{ratios[0]:>8}{ratios[1]:>8}{psnr:>7}"
        )
    lines += [f"{name}: not measured: {reason}" for name, reason in report["skipped"].items()]
    return "\n".join(lines)


def _add_model(
    path: Path,
    label: str,
    options: argparse.Namespace,
    threads: int,
    runs: dict[str, Run],
    gflop: dict[str, float],
    report: dict[str, Any],
) -> None:
    """Add a model file in every backend and precision that can run it, or the reason."""
    import torch

    from restore.checkpoints.load import load_network

    network = load_network(path).requires_grad_(False)
    size: int | None = None
    exact: np.ndarray | None = None
    for backend, precision in _variants(options):
        name = f"{label}, {backend}, {precision}"
        start = time.perf_counter()
        try:
            runtime = load_runtime(path, backend, "cpu", threads, precision)
        except RestoreError as error:
            report["skipped"][name] = str(error)
            continue
        report.setdefault("load_seconds", {})[name] = time.perf_counter() - start
        if size is None:
            size = runtime.crop_size
            cost = count_gflop(network, torch.zeros(1, 3, size, size))
        crop = smooth_crop(size)
        runs[name], gflop[name] = _bound(runtime.run, crop), cost
        image = runtime.run(crop, 1.0)[0] / 127.5 - 1
        if exact is None and precision == "float32":
            exact = image
        elif exact is not None:
            report.setdefault("psnr", {})[name] = {"psnr": min(image_psnr(image, exact), 99.9)}


def _variants(options: argparse.Namespace) -> list[tuple[str, str]]:
    wanted = options.precisions.split(",")
    narrow = cpu_has_bfloat16() or "bfloat16" not in wanted
    return [
        (backend, precision)
        for precision in wanted
        for backend in options.backends.split(",")
        if not (backend == "onnxruntime" and precision != "float32")
        and (narrow or precision != "bfloat16")
    ]


def smooth_crop(size: int) -> np.ndarray:
    """uint8 [1,size,size,3] of smooth patches: the spectrum of a photo rather than of noise."""
    import cv2

    coarse = np.random.default_rng(0).integers(0, 256, (size // 32, size // 32, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))[None]


def _bound(run: Callable[..., object], crop: np.ndarray) -> Run:
    return lambda: run(crop, 1.0)


def write_gfpgan(network: Any, size: int, folder: Path, graph: bool = True) -> Path:
    """`network` as a model file in `folder`, with its graph unless told otherwise."""
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
    if graph:
        export_model(path)
    return path


def find_model(model: str) -> Path:
    """A file as it is, a name through the table of models."""
    from restore.checkpoints.download import locate_model

    return Path(model) if os.path.isfile(model) else locate_model(model)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("restore.benchmarks speed", description=__doc__)
    add = parser.add_argument
    add("--photo", type=Path, help="a photo with a face: adds the table of stages")
    add(
        "--megapixels",
        type=float,
        nargs="+",
        default=list(STAGES_SIZES),
        help="sizes of the photos in that table; default: %(default)s",
    )
    add("--no-faces", action="store_true", help="the table of stages alone")
    add("--model", default="default", help="model file or name; default: %(default)s")
    add("--no-model", dest="model", action="store_const", const=None, help="only the GFPGAN size")
    add("--backends", default=",".join(BACKENDS), help="default: %(default)s")
    add("--gfpgan", action="store_true", help="the GFPGAN-size network in the backends, too")
    add("--no-reference", action="store_true", help="no plain GFPGAN-size network, no ratios")
    add("--size", type=int, default=512, help="crop of the GFPGAN-size network; default 512")
    add(
        "--precisions",
        default="float32,bfloat16",
        help="bfloat16 only where the CPU has it; default: %(default)s",
    )
    add("--threads", type=int, help="default: all cores")
    add("--repeats", type=int, default=5, help="default: %(default)s")
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser
