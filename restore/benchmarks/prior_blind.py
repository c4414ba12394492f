"""Where the prior is blind: how well real faces are rebuilt, by source and age band."""

from __future__ import annotations

import argparse
import csv
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restore.checkpoints.load import load_network
from restore.checkpoints.prior_heads_file import load_prior_heads
from restore.data.frame import to_ffhq_frame
from restore.data.stores import Store, open_store
from restore.errors import InputError
from restore.latents.generate import load_generator
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_lpips_heads,
)
from restore.losses.identity import identity_loss
from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.networks.perceptual import LpipsLoss, masked_mean
from restore.networks.prior_restorer import PriorRestorer

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
            return self.restorer.encoder(lq).w_plus

    def paint(self, w_plus: Tensor, size: int) -> Tensor:
        """W+ -> images [n,3,size,size], by the prior alone."""
        if self.heads is not None and size in self.head_sizes:
            return self.heads(cast(MobileStyleGAN, self.decoder), w_plus, size)
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
