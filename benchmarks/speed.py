"""Seconds: faces per backend beside plain GFPGAN, graphs, GPU, whole photos, the command, training.

python -m benchmarks speed faces --gfpgan --repeats 4
python -m benchmarks speed stages samples/group.jpg
python -m benchmarks speed command samples/group.jpg --folder 200
python -m benchmarks speed graphs NAME.onnx ...
python -m benchmarks speed gpu | install | training -opt FILE
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.faces import markdown, planes
from benchmarks.plain_gfpgan import PlainGFPGAN, random_gfpgan
from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import save_model_file
from restore.checkpoints.named_models import locate_model
from restore.errors import DeviceError, InputError, RestoreError
from restore.options.schema import load_options
from restore.pipeline.restorer import Restorer
from restore.runtime.contract import cpu_has_bfloat16, keep_freed_memory
from restore.runtime.export import export_model, image_psnr
from restore.runtime.onnx_runtime import cpu_count
from restore.runtime.select import load_runtime
from restore.runtime.torch_runtime import TorchRuntime
from restore.training.distributed import start_ranks
from restore.training.experiment import Progress
from restore.training.prior import PriorTask
from restore.training.restorer import RestorerTask
from restore.training.setup import build_task

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = "plain GFPGAN"
Run = Callable[[], object]


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was asked for."""
    args = _parser().parse_args(argv)
    for line in args.run(args):
        print(line, flush=True)
    return 0


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
        name: {"min": min(w), "median": statistics.median(w), "cpu": min(cpu[name])}
        for name, w in wall.items()
    }


def convolution_rate(repeats: int, precision: str = "float32") -> dict[str, float]:
    """GFLOP/s of a 3x3 convolution, 256 channels, 64 px, NHWC, torch; by wall and by CPU time."""
    dtype = getattr(torch, precision)
    x = torch.rand(1, 256, 64, 64).to(dtype=dtype, memory_format=torch.channels_last)
    weight = torch.rand(256, 256, 3, 3).to(dtype=dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        row = time_in_turn({"conv": lambda: F.conv2d(x, weight, padding=1)}, 4 * repeats)["conv"]
    gflop = 2 * 9 * 256 * 256 * 64 * 64 / 1e9
    return {"wall": gflop / row["min"], "cpu": gflop / row["cpu"]}


def count_gflop(network: Any, *inputs: Any) -> float:
    """GFLOP of one pass: two for each multiplication and addition of convolutions and products."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return counter.get_total_flops() / 1e9


# -- faces ----------------------------------------------------------------------------------------


def faces(args: argparse.Namespace) -> list[str]:
    """Everything that was asked for is built, then timed in turn; ratios are against plain GFPGAN
    of the same run, dB against the float32 of the same network."""
    threads = args.threads or cpu_count()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rate = convolution_rate(args.repeats)
    narrow = cpu_has_bfloat16()
    runs: dict[str, Run] = {}
    gflop: dict[str, float] = {}
    decibel: dict[str, float] = {}
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if not args.no_reference:
            network = random_gfpgan(args.size)
            lq = planes(smooth_crop(args.size)).float() / 127.5 - 1
            runs[REFERENCE] = _without_gradients(PlainGFPGAN(network), lq)
            gflop[REFERENCE] = count_gflop(network, lq)
            if args.gfpgan:
                path = write_gfpgan(network, args.size, Path(folder))
                _add_model(path, "GFPGAN size", args, threads, runs, gflop, decibel, notes)
        if args.model is not None:
            path = find_model(args.model)
            _add_model(path, "model", args, threads, runs, gflop, decibel, notes)
        rows = time_in_turn(runs, args.repeats)
    fast = f", {convolution_rate(args.repeats, 'bfloat16')['wall']:.0f} in bfloat16"
    body = []
    for name, row in rows.items():
        ratios = ["", ""]
        if REFERENCE in rows:
            ratios = [f"{rows[REFERENCE][key] / row[key]:.1f}x" for key in ("min", "cpu")]
        share = max(gflop[name] / row["min"] / rate["wall"], gflop[name] / row["cpu"] / rate["cpu"])
        seconds = [f"{row[key]:.3f}" for key in ("min", "median", "cpu")]
        psnr = f"{decibel[name]:.1f}" if name in decibel else ""
        body.append([name, *seconds, f"{gflop[name]:.1f}", f"{share:.2f}", *ratios, psnr])
    heads = ["", "min s", "median", "cpu s", "GFLOP", "of rate", "ratio", "by cpu", "dB"]
    return [
        f"{threads} threads, {args.repeats} repeats; 3x3 convolutions: {rate['wall']:.0f} GFLOP/s "
        f"(torch, NHWC, float32{fast if narrow else ''}), {rate['cpu']:.0f} per second of a core\n",
        markdown(heads, body),
        *notes,
    ]


def _without_gradients(network: Any, lq: torch.Tensor) -> Run:
    def run() -> object:
        with torch.inference_mode():
            return network(lq)

    return run


def _add_model(
    path: Path,
    label: str,
    args: argparse.Namespace,
    threads: int,
    runs: dict[str, Run],
    gflop: dict[str, float],
    decibel: dict[str, float],
    notes: list[str],
) -> None:
    """Add a model file in every backend and precision that can run it, or the reason."""
    network = load_network(path).requires_grad_(False)
    exact: np.ndarray | None = None
    for precision in args.precisions.split(","):
        if precision == "bfloat16" and not cpu_has_bfloat16():
            continue
        for backend in args.backends.split(","):
            if backend == "onnxruntime" and precision != "float32":
                continue
            name = f"{label}, {backend}, {precision}"
            try:
                runtime = load_runtime(path, backend, "cpu", threads, precision)
            except RestoreError as error:
                notes.append(f"{name}: not measured: {error}")
                continue
            crop = smooth_crop(runtime.crop_size)
            runs[name] = lambda run=runtime.run, crop=crop: run(crop, 1.0)  # type: ignore[misc]
            gflop[name] = count_gflop(network, torch.zeros(1, 3, *crop.shape[1:3]))
            image = runtime.run(crop, 1.0)[0] / 127.5 - 1
            if exact is None and precision == "float32":
                exact = image
            elif exact is not None:
                decibel[name] = min(image_psnr(image, exact), 99.9)


def smooth_crop(size: int) -> np.ndarray:
    """uint8 [1,size,size,3] of smooth patches: the spectrum of a photo rather than of noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (size // 32, size // 32, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))[None]


def write_gfpgan(network: Any, size: int, folder: Path, graph: bool = True) -> Path:
    """`network` as a model file in `folder`, with its graph unless told otherwise."""
    path = folder / "gfpgan.safetensors"
    arguments = {"out_size": size}
    header = {"architecture": "gfpgan_clean", "arguments": arguments, "crop_size": size}
    save_model_file(path, network, header, torch.float32)
    if graph:
        export_model(path)
    return path


def find_model(model: str) -> Path:
    """A file as it is, a name through the table of models."""
    return Path(model) if os.path.isfile(model) else locate_model(model)


# -- graphs and GPU -------------------------------------------------------------------------------


def graphs(args: argparse.Namespace) -> list[str]:
    """Size, load and processor seconds a face of exported graphs, per runtime; one thread."""
    loads: dict[str, float] = {}
    runs: dict[str, Run] = {}
    loaders: dict[str, Callable[[Path], Run]] = {
        "onnxruntime": lambda path: _onnxruntime(path, args.threads or 1)
    }
    if find_spec("openvino"):
        for name, hint in (("OpenVINO float32", "f32"), ("OpenVINO bfloat16", "bf16")):
            loaders[name] = lambda path, hint=hint: _openvino(path, args.threads or 1, hint)  # type: ignore[misc]
    for path in args.graph:
        if not path.is_file():
            raise InputError(f"there is no graph {path}; make one with restore export")
        for runtime, load in loaders.items():
            label = f"{path.name} | {path.stat().st_size / 1e6:.1f} | {runtime}"
            start = time.process_time()
            runs[label] = load(path)
            loads[label] = time.process_time() - start
    rows = time_in_turn(runs, args.repeats)
    heads = ["graph", "MB", "runtime", "load, cpu s", "a face, cpu s", "seconds"]
    body = [
        [*label.split(" | "), f"{loads[label]:.2f}", f"{row['cpu']:.3f}", f"{row['min']:.3f}"]
        for label, row in rows.items()
    ]
    return [markdown(heads, body)]


def _feed(size: int) -> dict[str, Any]:
    lq = np.random.default_rng(0).uniform(-1, 1, (1, 3, size, size)).astype(np.float32)
    return {"lq": lq, "fidelity": np.ones(1, np.float32)}


def _onnxruntime(path: Path, threads: int) -> Run:
    from restore.model_files import open_session

    session = open_session(path, threads)
    feed = _feed(session.get_inputs()[0].shape[-1])
    return lambda: session.run(None, feed)


def _openvino(path: Path, threads: int, hint: str) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path.resolve()))
    size = model.input("lq").partial_shape[3].get_length()
    model.reshape({"lq": [1, 3, size, size], "fidelity": [1]})
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": hint}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    feed = _feed(size)
    return lambda: request.infer(feed)


def gpu(args: argparse.Namespace) -> list[str]:
    """Faces/s from uint8 on the host to uint8 on the host: GFPGANer's way (a face at a time, eager
    float32), then the torch runtime with batches; ratio, and dB from float32."""
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError("there is no CUDA device; --device cpu tries the benchmark out")
    torch.manual_seed(0)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    network = random_gfpgan(args.size)
    plain = PlainGFPGAN(network).to(device)
    lq = planes(smooth_crop(args.size)).float() / 127.5 - 1

    def one_face() -> object:
        with torch.inference_mode():
            return plain(lq.to(device)).cpu()

    base = _faces_per_second(one_face, 1, args.seconds)
    body = [["plain GFPGAN, eager float32, one face", f"{base:.2f}", "1.0x", ""]]
    with tempfile.TemporaryDirectory() as folder:
        path = write_gfpgan(network, args.size, Path(folder), graph=False)
        for label, file in {"GFPGAN size": path, "model": find_model(args.model)}.items():
            exact: np.ndarray | None = None
            for precision in ("float32", "bfloat16", "float16"):
                runtime = TorchRuntime(file, args.device, precision=precision)
                crops = np.repeat(smooth_crop(runtime.crop_size), args.batch, axis=0)
                image = runtime.run(crops, 1.0)[0][:1] / 127.5 - 1
                exact = image if exact is None else exact
                run = lambda run=runtime.run, crops=crops: run(crops, 1.0)  # noqa: E731
                rate = _faces_per_second(run, len(crops), args.seconds)
                text = f"{label}, {precision}, {args.batch} faces"
                psnr = f"{min(image_psnr(image, exact), 99.9):.1f}"
                body.append([text, f"{rate:.2f}", f"{rate / base:.1f}x", psnr])
    return [f"{name}; torch {torch.__version__}\n", markdown(["", "faces/s", "ratio", "dB"], body)]


def _faces_per_second(run: Run, count: int, seconds: float) -> float:
    """Best of the rates of single calls for `seconds`, after one warm-up; results are fetched."""
    run()
    best, end = 0.0, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        best = max(best, count / (now - start))
        if now >= end:
            return best


# -- photos and the command -----------------------------------------------------------------------

STAGES = ("read", "detect", "align", "network", "trust", "background", "paste")


class PeakMemory:
    """Highest resident memory in MB of this process, and its rise, sampled every 5 ms (Linux)."""

    def __enter__(self) -> PeakMemory:
        self.base = self.peak = _resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, _resident())


def _resident() -> int:
    import resource

    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def composed_photo(face: np.ndarray, megapixels: float, count: int) -> np.ndarray:
    """A 4:3 photo uint8 [h,w,3] with `count` copies of a face crop [s,s,3] on a grid.

    Faces are as large as the grid allows, at most 1,024 px.
    """
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    photo = np.stack([120 + 40 * x / width, 130 + 30 * y / height, 110 + 0 * x], -1)
    photo = photo.astype(np.uint8)
    columns = int(np.ceil(np.sqrt(count * 4 / 3)))
    rows = int(np.ceil(count / columns))
    side = min(int(min(width / columns, height / rows) * 0.85), 1024)
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    for i in range(count):
        top = int((i // columns + 0.5) * height / rows - side / 2)
        left = int((i % columns + 0.5) * width / columns - side / 2)
        photo[top : top + side, left : left + side] = small
    return photo


def face_crop(restorer: Restorer, photo: Path) -> np.ndarray:
    """The first face of a photo, as it goes into the network."""
    for face in restorer.restore(photo, scale=1).faces:
        if face.crop is not None:
            return face.crop
    raise InputError(f"no face was found in {photo}; give a photo with one")


def stages(args: argparse.Namespace) -> list[str]:
    """Whole photos from JPEG file to JPEG file at their own size: seconds per stage, CPU, MB."""
    restorer = Restorer.load(args.model)
    face, body = face_crop(restorer, args.photo), []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jpg"), Path(folder, "out.jpg")
        for megapixels in args.megapixels:
            for count in (1, 4, 20):
                _write_jpeg(source, composed_photo(face, megapixels, count))
                used = time.process_time()
                with PeakMemory() as memory:
                    done = restorer.restore(source, scale=1)
                    start = time.perf_counter()
                    done.save(target)
                    encode = time.perf_counter() - start
                used = time.process_time() - used
                seconds = [*(done.timings.get(name, 0.0) for name in STAGES), encode]
                cells = [f"{s:.2f}" for s in (*seconds, done.seconds + encode, used)]
                peak = [f"{memory.peak / 1e6:.0f}", f"{(memory.peak - memory.base) / 1e6:.0f}"]
                body.append([f"{megapixels:g}", count, len(done.faces), *cells, *peak])
    runtime = restorer.runtime
    heads = ["MP", "faces", "found", *STAGES, "encode", "total", "cpu s", "peak MB", "rise"]
    return [f"{runtime.name}, {getattr(runtime, 'precision', '')}\n", markdown(heads, body)]


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    cv2.imwrite(str(path), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])


@dataclass(frozen=True)
class Spent:
    """What a command took: wall and processor seconds, peak memory in MB."""

    wall: float
    cpu: float
    megabytes: float


_WATCH = """import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3]))"""


def spent_by(command: Sequence[str]) -> Spent:
    """Run a command to its end; CalledProcessError where it fails.

    A small process starts and watches it: Linux counts the starter's memory to the started.
    """
    watch = [sys.executable, "-c", _WATCH, *command]
    said = subprocess.run(watch, stdout=subprocess.PIPE, check=True).stdout
    code, wall, cpu, megabytes = json.loads(said)
    if code:
        raise subprocess.CalledProcessError(code, list(command))
    return Spent(wall, cpu, megabytes)


def command(args: argparse.Namespace) -> list[str]:
    """Cold starts, each in a new process, the best of each; with --folder a run over N photos, one
    after the other and overlapped, in this order twice: the better of each."""
    load = (
        "import restore.commands.run; from restore import ModelOptions, Restorer; "
        f"Restorer.load(ModelOptions(model={args.model!r}))"
    )
    with tempfile.TemporaryDirectory() as place:
        base = [sys.executable, "-m", "restore", "--overwrite", "-s", "1", "--quiet"]
        base += ["--model", args.model, "-o", f"{place}/out", "-i"]
        starts = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import restore": [sys.executable, "-c", "import restore"],
            "import of the command line, model loaded": [sys.executable, "-c", load],
            "command to exit, one photo": [*base, str(args.photo)],
        }
        body = []
        for name, words in starts.items():
            best = min((spent_by(words) for _ in range(args.repeats)), key=lambda s: s.wall)
            body.append([name, f"{best.wall:.2f}", f"{best.cpu:.2f}", f"{best.megabytes:.0f}"])
        lines = [markdown(["start", "seconds", "cpu s", "peak MB"], body)]
        if not args.folder:
            return lines
        source = Path(place, "in")
        source.mkdir()
        write_folder(source, args.photo, args.model, args.folder)
        ways = {"one after the other": "0", "--ahead 2": "2"}
        runs: dict[str, list[Spent]] = {name: [] for name in ways}
        for _ in range(2):
            for name, ahead in ways.items():
                runs[name].append(spent_by([*base, str(source), "--ahead", ahead]))
    body = []
    for name, spent in runs.items():
        best = min(spent, key=lambda s: s.wall)
        busy = f"{100 * best.cpu / best.wall / cpu_count():.0f} %"
        numbers = [f"{best.wall:.1f}", f"{best.cpu:.1f}", busy, f"{best.megabytes:.0f}"]
        body.append([f"{args.folder} photos, {name}", *numbers])
    heads = ["folder", "seconds", "cpu s", "cores busy", "peak MB"]
    return [*lines, "", markdown(heads, body)]


def write_folder(folder: Path, photo: Path, model: str, count: int) -> None:
    """`count` JPEG photos of several sizes with the face of `photo`, one to four times."""
    kinds = ((0.3, 1), (2.0, 1), (0.3, 2), (5.0, 1), (1.0, 4))  # megapixels, faces
    face = face_crop(Restorer.load(model), photo)
    for i in range(count):
        kind = i % len(kinds)
        if i < len(kinds):
            _write_jpeg(folder / f"{i:04d}.jpg", composed_photo(face, *kinds[kind]))
        else:
            shutil.copyfile(folder / f"{kind:04d}.jpg", folder / f"{i:04d}.jpg")


def install(args: argparse.Namespace) -> list[str]:
    """A fresh light install in a new virtual environment: seconds and megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        empty = _megabytes(Path(folder))
        python = str(Path(folder) / "bin" / "python")
        start = time.perf_counter()
        words = [python, "-m", "pip", "install", "--quiet", args.requirement]
        done = subprocess.run(words, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RestoreError(f"the install failed: {done.stderr[-2000:]}")
        size = _megabytes(Path(folder)) - empty
        listed = [python, "-m", "pip", "list", "--format=freeze"]
        packages = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    torch_too = any(p.lower().startswith("torch==") for p in packages)
    return [
        f"light install: {seconds:.0f} s, {size:.0f} MB, {len(packages)} packages, "
        f"{'with' if torch_too else 'without'} torch"
    ]


def _megabytes(folder: Path) -> float:
    sizes = (p.lstat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sum(sizes) / 1e6


# -- training -------------------------------------------------------------------------------------


@dataclass
class Shares:
    """Seconds by name; synchronises an accelerator around what it times."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added under `name`."""

        def run(*args: Any, **keywords: Any) -> Any:
            self.wait()
            start = time.perf_counter()
            result = function(*args, **keywords)
            self.wait()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            return result

        return run

    def wait(self) -> None:
        """Until the accelerator has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _TimedFeed:
    """A feed whose two halves are timed."""

    def __init__(self, feed: Any, shares: Shares) -> None:
        self._feed = feed
        self.faces = shares.timed("data", feed.faces)
        self.degraded = shares.timed("degradation", feed.degraded)

    def __getattr__(self, name: str) -> Any:
        # batch() must call the timed halves of this object, not those of the feed
        if name in ("batch", "codes_batch"):
            return getattr(type(self._feed), name).__get__(self)
        return getattr(self._feed, name)


def training(args: argparse.Namespace) -> list[str]:
    """Images per second of an option file's steps, and the share of data, degradation, G and D."""
    options = load_options(args.opt, args.force_yml)
    keep_freed_memory()
    ranks = start_ranks("none", options.num_gpu)
    torch.manual_seed(options.manual_seed)
    task: Any = build_task(options, ranks)
    shares, plain_step = Shares(ranks.device), task.stepper.step

    def step(optimiser: Any, losses: Any) -> Any:
        name = "G" if optimiser is task.trained.optimisers["net_g"] else "D"
        return shares.timed(name, plain_step)(optimiser, losses)

    task.stepper.step = step
    if isinstance(task, RestorerTask):
        for one in task.feeds:
            object.__setattr__(one, "feed", _TimedFeed(one.feed, shares))
    elif isinstance(task, PriorTask):
        task.real = shares.timed("data", task.real)  # type: ignore[method-assign]
    progress, before, start = Progress(), 0, 0.0
    for number in range(args.steps + 2):
        if number == 2:  # two steps warm up
            shares.seconds.clear()
            before, start = progress.images, time.perf_counter()
        task.step(progress)
        progress.step += 1
    shares.wait()
    total, images = time.perf_counter() - start, progress.images - before
    named = dict(shares.seconds)
    if "degradation" not in named and "data" in named and "D" in named:
        named["D"] -= named["data"]  # crops of a prior are read inside the step of D
    named["rest (EMA, schedule)"] = max(0.0, total - sum(named.values()))
    where = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else "CPU"
    body = [[k, f"{s / images:.4f}", f"{100 * s / total:.1f} %"] for k, s in named.items()]
    return [
        f"{options.name} on {where}, {torch.get_num_threads()} CPU threads: "
        f"{images / total:.3g} images per second\n",
        markdown(["part", "seconds an image", "share"], body),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(required=True)

    def part(run: Callable[[argparse.Namespace], list[str]]) -> Callable[..., Any]:
        sub = parts.add_parser(run.__name__, help=(run.__doc__ or "").split(":")[0])
        sub.set_defaults(run=run)
        return sub.add_argument

    add = part(faces)
    add("--model", default="default", help="model file or name; default: %(default)s")
    add("--no-model", dest="model", action="store_const", const=None, help="only the GFPGAN size")
    add("--backends", default="onnxruntime,openvino,torch", help="default: %(default)s")
    add("--precisions", default="float32,bfloat16", help="bfloat16 only where the CPU has it")
    add("--gfpgan", action="store_true", help="the GFPGAN-size network in the backends, too")
    add("--no-reference", action="store_true", help="no plain GFPGAN-size network, no ratios")
    add("--size", type=int, default=512, help="crop of the GFPGAN-size network; default 512")
    add("--threads", type=int, help="default: all cores")
    add("--repeats", type=int, default=5)
    add = part(graphs)
    add("graph", type=Path, nargs="+", help="NAME.onnx and its weights")
    add("--threads", type=int, default=1)
    add("--repeats", type=int, default=3)
    add = part(gpu)
    add("--device", default="cuda", help="cpu to try it out; default: %(default)s")
    add("--model", default="default", help="model file or name")
    add("--size", type=int, default=512, help="crop of the GFPGAN-size network")
    add("--batch", type=int, default=16, help="faces at once; default: 16")
    add("--seconds", type=float, default=3.0, help="of each candidate")
    add = part(stages)
    add("photo", type=Path, help="a photo with a face")
    add("--model", default="default")
    add("--megapixels", type=float, nargs="+", default=[0.3, 2.0, 12.0, 48.0])
    add = part(command)
    add("photo", type=Path, help="a photo with a face")
    add("--model", default="default")
    add("--folder", type=int, metavar="N", help="a folder of N photos, too")
    add("--repeats", type=int, default=3, help="of each start; default 3")
    add = part(install)
    add("--requirement", default=str(ROOT), help="default: this checkout")
    add = part(training)
    add("-opt", required=True, help="option file of a restorer or a prior")
    add("--steps", type=int, default=10, help="timed steps after two to warm up")
    add("--force_yml", nargs="+", default=[], metavar="a:b=c")
    return parser
