"""The face prior: heads, cost, Frechet distances, sheets; and where it is blind, group by group."""

from __future__ import annotations

import argparse
import csv
import resource
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.faces import open_faces
from restore.checkpoints.load import load_network
from restore.checkpoints.model_file import load_prior_heads
from restore.data.frame import to_ffhq_frame
from restore.data.stores import Store, open_store
from restore.errors import InputError
from restore.images.contact_sheet import grid_sheet
from restore.latents.generate import generate_faces, load_generator, native_sizes, render, to_uint8
from restore.latents.spaces import Generator, level_rows, mix, z_of_seeds, z_to_w_plus
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_lpips_heads,
)
from restore.losses.reconstruction import identity_loss
from restore.metrics.unpaired import FrechetMetric
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.networks.perceptual import LpipsLoss, masked_mean
from restore.networks.prior_restorer import PriorRestorer
from restore.runtime.contract import keep_freed_memory
from restore.runtime.export import prior_model
from tools.faces import openvino_painter
from tools.prior_heads import head_psnr

AGE_BANDS = ((2, 6), (7, 12), (13, 19), (20, 39), (40, 59), (60, 80))
"""Years, both ends included, of the All-Age-Faces crops."""
SIZE = 256
BATCH = 8  # faces at a time
RATE = 0.05  # of Adam on W+, whose numbers differ by 0.44 from face to face


@dataclass(frozen=True)
class Rebuilt:
    """One face: masked PSNR in dB, LPIPS, identity cosine, distance of the code to the mean."""

    psnr: float
    lpips: float
    identity: float
    code: float


def add_blind_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `--blind`."""
    parser.add_argument(
        "--blind", action="store_true", help="error of rebuilding real faces, by source and age"
    )
    parser.add_argument("--restorer", default="default", help="whose encoder reads the faces")
    parser.add_argument("--generator", help="paints instead of the restorer's (a fine-tuned one)")
    parser.add_argument("--identity", type=Path, help="weights of a face embedding")
    parser.add_argument("--per-group", type=int, default=64, help="faces of each group")
    parser.add_argument("--groups", nargs="+", help="some groups alone, as the table names them")
    parser.add_argument("--steps", type=int, default=0, help="Adam steps on W+ from the encoder's")
    parser.add_argument("--at", type=int, default=SIZE, help="px at which those steps look")
    parser.add_argument("--half", action="store_true", help="paint in those steps with bfloat16")


def source_of(name: str) -> str:
    """Where a crop comes from: the part of its name before the first underscore."""
    return name.split("_")[0]


def group_of(name: str, ages: Mapping[str, int]) -> str:
    """A source, and for All-Age-Faces its age band: "aaf 2-6"."""
    source = source_of(name)
    age = ages.get(Path(name).stem)
    if source != "aaf" or age is None:
        return source
    bands = [f"{low}-{high}" for low, high in AGE_BANDS if low <= age <= high]
    return f"{source} {bands[0]}" if bands else source


def read_ages(path: Path) -> dict[str, int]:
    """Name without its ending -> age in years; a csv file with the columns `name` and `age`."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; it is needed for the age bands")
    with path.open(newline="", encoding="utf-8") as file:
        return {Path(row["name"]).stem: int(row["age"]) for row in csv.DictReader(file)}


def choose(names: Sequence[str], ages: Mapping[str, int], count: int) -> dict[str, list[str]]:
    """Group -> at most `count` names, in an order that depends on the names alone."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda n: zlib.crc32(n.encode())):
        chosen = groups.setdefault(group_of(name, ages), [])
        if len(chosen) < count:
            chosen.append(name)
    order = [f"aaf {low}-{high}" for low, high in AGE_BANDS]
    known = [group for group in order if group in groups]
    return {group: groups[group] for group in [*known, *sorted(set(groups) - set(known))]}


class Rebuilder:
    """A restorer asked to rebuild undegraded faces from their codes alone (fidelity 0)."""

    def __init__(
        self,
        restorer: nn.Module,
        lpips: LpipsLoss,
        identity: nn.Module,
        half: bool = False,
        generator: nn.Module | None = None,
    ) -> None:
        if not isinstance(restorer, PriorRestorer):
            raise InputError(f"--restorer is a {type(restorer).__name__}; expected a PriorRestorer")
        self.restorer = restorer.eval().requires_grad_(False)
        self.lpips = lpips
        self.identity = identity
        self.half = half
        # The restorer's own heads want the maps of its encoder: without them colours are off.
        self.heads = load_prior_heads(restorer.decoder)
        self.decoder = restorer.decoder if generator is None else generator
        self.head_sizes = () if self.heads is None else self.heads.sizes
        if generator is not None:
            unchanged = smallest_alike(restorer.decoder, generator)
            self.head_sizes = tuple(size for size in self.head_sizes if size >= unchanged)
        self.crop_size = int(getattr(restorer.encoder, "crop_size", 512))

    def codes(self, gt: Tensor) -> Tensor:
        """Images [n,3,s,s] RGB in [-1,1] -> W+ of the encoder."""
        size = (self.crop_size, self.crop_size)
        lq = F.interpolate(gt, size=size, mode="bilinear", align_corners=False)
        with torch.no_grad():
            found: Tensor = self.restorer.encoder(lq).w_plus
            return found

    def paint(self, w_plus: Tensor, size: int) -> Tensor:
        """W+ -> images [n,3,size,size], by the prior alone."""
        if self.heads is not None and size in self.head_sizes:
            found: Tensor = self.heads(cast(MobileStyleGAN, self.decoder), w_plus, size)
            return found
        image: Tensor = self.decoder.synthesis(w_plus)  # type: ignore[operator]
        return F.adaptive_avg_pool2d(image, size)

    def improved(self, w_plus: Tensor, gt: Tensor, mask: Tensor, steps: int, size: int) -> Tensor:
        """W+ after Adam steps on masked L1 and LPIPS (Image2StyleGAN's losses, shorter).

        `size`: px at which the steps look; what is finer is left to the prior.
        """
        gt, mask = (
            F.adaptive_avg_pool2d(gt, size),
            (F.adaptive_avg_pool2d(mask, size) > 0.99).float(),
        )
        codes = w_plus.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([codes], RATE)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = RATE * min(1, 2 * (1 - step / steps))
            with torch.autocast(gt.device.type, torch.bfloat16, enabled=self.half):
                image = self.paint(codes, size).float()
            loss = masked_mean((image - gt).abs(), mask) + self.lpips(image * mask, gt * mask)
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimiser.step()
        return codes.detach()

    def measure(self, gt: Tensor, mask: Tensor, steps: int, size: int) -> list[Rebuilt]:
        """Faces [n,3,s,s] with their masks [n,1,s,s], each with steps of its own."""
        w_plus = self.codes(gt)
        if steps:
            w_plus = self.improved(w_plus, gt, mask, steps, size)
        with torch.no_grad():
            image = self.paint(w_plus, SIZE).clamp(-1, 1)
            error = masked_mean((image - gt).square(), mask)
            distance = (w_plus - self.decoder.w_mean).square()  # type: ignore[operator]
            values = (
                10 * torch.log10(4 / error.clamp_min(1e-10)),
                self.lpips(image * mask, gt * mask),
                1 - identity_loss(self.identity, image, gt),
                distance.mean((1, 2)),
            )
            return [Rebuilt(*row) for row in torch.stack(values, 1).tolist()]


def smallest_alike(first: nn.Module, second: nn.Module) -> float:
    """The smallest level in px above which two generators are one; infinity where none is.

    Heads of the first then show what the second paints, from that size on: they stand for the
    levels above. Weights are compared as float16, as they are stored.
    """
    if not (isinstance(first, MobileStyleGAN) and isinstance(second, MobileStyleGAN)):
        return float("inf")
    if first.channels != second.channels or not _alike(first.to_rgb, second.to_rgb):
        return float("inf")
    for level in reversed(first.levels):
        if not _alike(first.blocks[str(level)], second.blocks[str(level)]):
            return level
    return 4


def _alike(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(v.half(), other[k].half()) for k, v in first.state_dict().items())


HEAD = (
    "| group | faces | PSNR | LPIPS-squeeze | identity cosine | code to mean |\n"
    "|---|---|---|---|---|---|"
)


def table_row(group: str, faces: Sequence[Rebuilt]) -> str:
    """A row of a markdown table: means, with the standard error of LPIPS and identity."""
    values = torch.tensor([[f.psnr, f.lpips, f.identity, f.code] for f in faces])
    mean = values.mean(0).tolist()
    error = (values.std(0, correction=0) / max(len(faces) - 1, 1) ** 0.5).tolist()
    return (
        f"| {group} | {len(faces)} | {mean[0]:.2f} | {mean[1]:.3f} ± {error[1]:.3f} | "
        f"{mean[2]:.3f} ± {error[2]:.3f} | {mean[3]:.3f} |"
    )


def run_blind(arguments: argparse.Namespace) -> Iterator[str]:
    """Rebuild the faces of every group; yields the lines of the table, each when it is measured.

    Crops of all `faces256-*.tar`: a trained encoder has seen most of them, so that what remains is
    what codes and prior cannot say, more than what the encoder did not learn.
    """
    if arguments.faces is None or arguments.features is None or arguments.identity is None:
        raise InputError("--blind needs --faces FOLDER, --features FILE and --identity FILE")
    stores = [open_store(path, "tar") for path in sorted(arguments.faces.glob("faces256-*.tar"))]
    if not stores:
        raise InputError(f"{arguments.faces} holds no faces256-*.tar")
    places: dict[str, Store] = {name: store for store in stores for name in store.keys}
    ages = read_ages(arguments.faces / "aaf_ages.csv")
    lpips = LpipsLoss(load_feature_network(arguments.features), load_lpips_heads("squeeze"))
    rebuilder = Rebuilder(
        load_network(arguments.restorer),
        lpips,
        load_identity_network(arguments.identity),
        arguments.half,
        None if arguments.generator is None else load_generator(arguments.generator),
    )
    how = f", then {arguments.steps} Adam steps at {arguments.at} px" if arguments.steps else ""
    how += f", painted by {arguments.generator}" if arguments.generator else ""
    yield f"{SIZE} px, masked, codes of the encoder of {arguments.restorer}{how}\n\n{HEAD}"
    chosen = choose(list(places), ages, arguments.per_group)
    wrong = [group for group in arguments.groups or () if group not in chosen]
    if wrong:
        raise InputError(f"--groups {', '.join(wrong)}: expected some of {', '.join(chosen)}")
    for group in arguments.groups or chosen:
        faces = []
        for start in range(0, len(chosen[group]), BATCH):
            names = chosen[group][start : start + BATCH]
            crops = [torch.from_numpy(places[n].image(n).copy()).permute(2, 0, 1) for n in names]
            gt, mask = to_ffhq_frame(torch.stack(crops), SIZE)
            faces += rebuilder.measure(gt, mask, arguments.steps, arguments.at)
        yield table_row(group, faces)


def cost_table(generator: Generator, threads: int, repeats: int = 2) -> str:
    """Seconds (wall and CPU) per image and the process's peak memory, sizes ascending."""
    w_plus = z_to_w_plus(generator, z_of_seeds(generator, [1]))
    heads = load_prior_heads(generator)
    rows = []
    for size in native_sizes(generator, heads):
        paint = partial(render, generator, w_plus, size, heads)
        rows.append(f"{size:5d} px  {seconds_of(paint, repeats)}  torch")
        if isinstance(generator, MobileStyleGAN):
            session, feed = onnx_session(generator, w_plus, size, threads, heads)
            cost = seconds_of(partial(session, feed), repeats)
            # `render` clamps, the graph does not
            off = np.abs(session(feed).clip(-1, 1) - paint().numpy()).max()
            rows.append(f"{size:5d} px  {cost}  onnxruntime, off by at most {off:.1e}")
        faster, name = openvino_painter(generator, size, heads)
        if faster is not None:
            cost = seconds_of(partial(faster, w_plus), repeats)
            error = float((faster(w_plus) - paint()).square().mean())
            rows.append(f"{size:5d} px  {cost}  {name}, {10 * np.log10(4 / error):.1f} dB")
    return f"{threads} threads, memory is the peak so far\n" + "\n".join(rows)


def seconds_of(work: Callable[[], object], repeats: int) -> str:
    """Mean time of `work` after one call that does not count."""
    work()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    seconds = (time.perf_counter() - wall) / repeats
    cpu_seconds = (time.process_time() - cpu) / repeats
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{seconds:.3f} s wall  {cpu_seconds:.3f} s CPU  {peak:.0f} MB"


def onnx_session(
    generator: MobileStyleGAN,
    w_plus: Tensor,
    size: int,
    threads: int,
    heads: PriorHeads | None = None,
) -> tuple[Callable[[dict[str, np.ndarray]], np.ndarray], dict[str, np.ndarray]]:
    """A function that paints through onnxruntime, and what to feed it: codes [n,k,w_dim]."""
    from restore.model_files import open_session

    session = open_session(prior_model(generator, size, heads).SerializeToString(), threads)
    feed = {"w_plus": w_plus.numpy(), "fidelity": np.ones(len(w_plus), np.float32)}
    return lambda fed: session.run(None, fed)[0], feed


TRUNCATIONS = (1.0, 0.7, 0.5)
BANK_SIZE = 512
FRECHET_SIZE = 256
PARTS = ("heads", "cost", "frechet", "sheets")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks prior", description=__doc__)
    parser.add_argument("--model", default="default-prior", help="a generator, by name or file")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--count", type=int, default=64, help="faces painted per truncation")
    parser.add_argument("--bank", type=Path, help=".npz of painted faces: read if there, else made")
    parser.add_argument("--faces", type=Path, help="folder with faces256-val.tar, -train-*.tar")
    parser.add_argument("--features", type=Path, help="SqueezeNet 1.1 or VGG19 weights (Frechet)")
    parser.add_argument("--heads-count", type=int, default=8, help="full-size images for the dB")
    parser.add_argument("--sheets", type=Path, help="folder for the level and truncation sheets")
    parser.add_argument("--threads", type=int, default=2)
    add_blind_arguments(parser)
    return parser.parse_args(argv)


def heads_table(model: str, count: int) -> str:
    """dB of each lower size against the shrunken full-size image, mean over images."""
    generator = cast(MobileStyleGAN, load_generator(model, keep_heads=True))
    rows = []
    heads = load_prior_heads(generator)
    if heads is not None:
        found = head_psnr(generator, partial(heads, generator), heads.sizes, count)
        rows += [f"{size:5d} px  {value:.1f} dB" for size, value in found.items()]
    own = head_psnr(
        generator, lambda w_plus, size: generator.synthesis(w_plus, size=size),
        [int(size) for size in generator.heads], count,
    )  # fmt: skip
    rows += [f"{size:5d} px  {value:.1f} dB  restorer's" for size, value in own.items()]
    return "\n".join(rows)


def paint_bank(generator: Generator, count: int, path: Path | None) -> dict[float, np.ndarray]:
    """Truncation -> faces uint8 [count,512,512,3] of seeds 1..count, shrunk from the full size."""
    if path is not None and path.is_file():
        with np.load(path) as stored:
            bank = {psi: stored[str(psi)] for psi in TRUNCATIONS}
        if min(len(faces) for faces in bank.values()) < count:
            raise InputError(f"{path} holds fewer than {count} faces; delete it or lower --count")
        return {psi: faces[:count] for psi, faces in bank.items()}
    bank = {}
    for psi in TRUNCATIONS:
        full = generate_faces(generator, range(1, count + 1), psi)
        bank[psi] = np.stack([_shrunk(face, BANK_SIZE) for face in full])
    if path is not None:
        np.savez(path, **{str(psi): faces for psi, faces in bank.items()})
    return bank


def _shrunk(face: np.ndarray, size: int) -> np.ndarray:
    if face.shape[0] <= size:
        return face
    image = torch.from_numpy(face).permute(2, 0, 1)[None].float()
    return F.adaptive_avg_pool2d(image, size)[0].permute(1, 2, 0).round().byte().numpy()


def real_faces(folder: Path, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(val [n,3,s,s], train [n,3,s,s], mask [1,1,s,s]) in the FFHQ frame of 256 px.

    For each held-out face there is a training face of the same source (the prefix of its name).
    """
    val = open_faces(folder, FRECHET_SIZE, count)
    val_images, masks = val.framed(val.names)
    shards = [open_store(path, "tar") for path in sorted(folder.glob("faces256-train-*.tar"))]
    places = {name: shard for shard in shards for name in shard.keys}
    pool: dict[str, list[str]] = {}
    for name in sorted(places, key=lambda n: zlib.crc32(n.encode())):
        pool.setdefault(source_of(name), []).append(name)
    chosen = [pool[source_of(name)].pop() for name in val.names]
    crops = [torch.from_numpy(places[n].image(n).copy()).permute(2, 0, 1) for n in chosen]
    return val_images, to_ffhq_frame(torch.stack(crops), FRECHET_SIZE)[0], masks[:1]


def frechet_table(bank: dict[float, np.ndarray], folder: Path, network: torch.nn.Module) -> str:
    """Distances of the painted faces to real ones, masked to the real crops' valid square."""
    count = min(len(faces) for faces in bank.values())
    val, train, mask = real_faces(folder, count)
    metric = FrechetMetric(network)

    def distance(first: Tensor, second: Tensor) -> float:
        pairs = zip(first.split(8), second.split(8), strict=True)
        # the border is black on both sides, so that it says nothing
        parts = [
            metric.measure(a * mask, b * mask, mask.expand(len(a), -1, -1, -1)) for a, b in pairs
        ]
        return metric.finish(torch.stack(parts).sum(0))

    rows = [f"val to train, the floor: {distance(val, train):.3f}"]
    for psi, faces in bank.items():
        images = torch.from_numpy(faces[: len(val)]).permute(0, 3, 1, 2).float() / 127.5 - 1
        images = F.adaptive_avg_pool2d(images, FRECHET_SIZE)
        rows.append(f"truncation {psi}: to val {distance(images, val):.3f}")
    return f"{len(val)} images a side, {FRECHET_SIZE} px, masked\n" + "\n".join(rows)


def write_sheets(generator: Generator, folder: Path, size: int = 192) -> str:
    """truncation.jpg: psi from 1 to 0 for four seeds. levels.jpg: one level from another person."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep, captions = [], []
    for seed in (2, 7, 11, 24):
        for psi in (1.0, 0.7, 0.5, 0.25, 0.0, -0.5):
            w_plus = z_to_w_plus(generator, z_of_seeds(generator, [seed]), psi)
            sweep.append(to_uint8(render(generator, w_plus, size))[0])
            captions.append(f"seed {seed}, psi {psi:g}")
    grid_sheet(sweep, captions, 6).save(folder / "truncation.jpg", quality=85)
    pictures, captions = [], []
    for first, second in ((2, 13), (24, 14), (7, 11)):
        base = z_to_w_plus(generator, z_of_seeds(generator, [first]), 0.7)
        other = z_to_w_plus(generator, z_of_seeds(generator, [second]), 0.7)
        row = [("person", base), ("other", other)]
        row += [(f"{level} px", mix(base, other, r)) for level, r in level_rows(generator).items()]
        pictures += [to_uint8(render(generator, codes, size))[0] for _, codes in row]
        captions += [name for name, _ in row]
    columns = 2 + len(level_rows(generator))
    grid_sheet(pictures, captions, columns).save(folder / "levels.jpg", quality=85)
    return f"{folder}: truncation.jpg, levels.jpg"


def main(argv: Sequence[str] | None = None) -> int:
    """Print every part that was asked for, each as soon as it is measured."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    if arguments.blind:
        for line in run_blind(arguments):
            print(line, flush=True)
        return 0
    wanted = {
        "heads": isinstance(load_generator(arguments.model), MobileStyleGAN),
        "cost": True,
        "frechet": arguments.faces is not None and arguments.features is not None,
        "sheets": arguments.sheets is not None,
    }
    with torch.no_grad():
        for part in arguments.parts:
            if wanted[part]:
                print(f"## {part}\n{measured_part(part, arguments)}\n", flush=True)
    return 0


def measured_part(part: str, arguments: argparse.Namespace) -> str:
    """The table of one part."""
    if part == "heads":
        return heads_table(arguments.model, arguments.heads_count)
    generator = load_generator(arguments.model)
    if part == "cost":
        return cost_table(generator, arguments.threads)
    if part == "sheets":
        return write_sheets(generator, arguments.sheets)
    bank = paint_bank(generator, arguments.count, arguments.bank)
    return frechet_table(bank, arguments.faces, load_feature_network(arguments.features))
