"""Validation: pairs measured over the ranks, pictures, and what becomes of the best weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from restore.data.batches import collate, open_dataset
from restore.data.face_dataset import FaceDataset, PairedDataset
from restore.degradation.degrade import degrade
from restore.degradation.recipe import Mixture
from restore.errors import OptionError
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_landmark_network,
    load_lpips_heads,
)
from restore.metrics.paired import lpips_measure, psnr, ssim
from restore.metrics.table import METRICS, MeanMetric, Metric, MetricSuite, MetricTools
from restore.metrics.unpaired import load_niqe
from restore.networks.mobile_stylegan import MobileStyleGAN
from restore.options.data import FaceDatasetOptions, PairedDatasetOptions
from restore.options.schema import MetricOptions, Options
from restore.training.build import mixture_of, sizes_of
from restore.training.distributed import Ranks
from restore.training.experiment import ExperimentFolder, Log, Progress
from restore.training.feed import Crops, Framing, SampleDraws, place_in_frame
from restore.training.fit import Task
from restore.training.prior import PriorTask, shrunken_picture
from restore.training.restorer import paint


def picture_grid(columns: Sequence[Tensor]) -> Tensor:
    """Columns [n,3,s,s] in [-1,1] of one size side by side: uint8 [n s, k s, 3] RGB."""
    size = columns[-1].shape[-1]
    same = [
        c if c.shape[-1] == size
        else F.interpolate(c.float(), (size, size), mode="bilinear", antialias=True)
        for c in columns
    ]  # fmt: skip
    rows = torch.cat([c.float().cpu() for c in same], dim=3)  # [n,3,s,k s]
    grid = rows.permute(0, 2, 3, 1).reshape(-1, rows.shape[3], 3)
    return ((grid.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def save_grid(path: Path, columns: Sequence[Tensor]) -> None:
    """Write the grid as PNG or JPEG, by the ending of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture_grid(columns).numpy()).save(path, quality=95)


Restore = Callable[[Tensor, float, int], Tensor]
"""(lq [n,3,s,s], fidelity, size of gt in px) -> restored [n,3,size,size] in about [-1,1]."""


@dataclass(frozen=True)
class Pair:
    """`lq`, `gt` [n,3,s,s] RGB in [-1,1] on the device; `mask` [n,1,s,s] or None."""

    lq: Tensor
    gt: Tensor
    mask: Tensor | None = None


class PairSource(Protocol):
    """A validation set: pictures by number, the same at every validation."""

    def __len__(self) -> int: ...

    def pairs(self, numbers: Sequence[int]) -> Pair:
        """The pairs of these numbers."""
        ...


@dataclass(frozen=True)
class ValidationSet:
    """A named set of pairs, and how many are restored at a time."""

    name: str
    source: PairSource
    batch_size: int = 4


@torch.no_grad()
def validate_set(
    restore: Restore,
    validation: ValidationSet,
    suites: Callable[[], MetricSuite],
    fidelities: Sequence[float],
    ranks: Ranks,
    baseline: bool = False,
) -> dict[str, float]:
    """Metrics of one set: "NAME/metric" at the first fidelity, "NAME/metric@f" at the others.

    Rank r measures pairs r, r + world, ...; the states are added up. `baseline` measures the bad
    pictures as well, as "NAME/metric@lq".
    """
    columns: dict[str, MetricSuite] = {f"@{f:g}": suites() for f in fidelities}
    if baseline:
        columns["@lq"] = suites()
    for numbers in shard(len(validation.source), validation.batch_size, ranks):
        pair = validation.source.pairs(numbers)
        size = pair.gt.shape[-1]
        for fidelity in fidelities:
            restored = restore(pair.lq, fidelity, size)
            columns[f"@{fidelity:g}"].update(restored, pair.gt, pair.mask)
        if baseline:
            columns["@lq"].update(pair.lq, pair.gt, pair.mask)
    values = {}
    for index, (label, suite) in enumerate(columns.items()):
        for metric, value in merged_over_ranks(suite, suites, ranks).result().items():
            values[f"{validation.name}/{metric}{label if index else ''}"] = value
    return values


@torch.no_grad()
def save_pictures(
    restore: Restore,
    validation: ValidationSet,
    fidelities: Sequence[float],
    count: int,
    path: Path,
) -> None:
    """A grid of the first `count` pairs: LQ | restored at each fidelity | GT."""
    rows: list[list[Tensor]] = []
    numbers = list(range(min(count, len(validation.source))))
    for start in range(0, len(numbers), validation.batch_size):
        pair = validation.source.pairs(numbers[start : start + validation.batch_size])
        size = pair.gt.shape[-1]
        restored = [restore(pair.lq, f, size).cpu() for f in fidelities]
        rows.append([pair.lq.cpu(), *restored, pair.gt.cpu()])
    if rows:
        save_grid(path, [torch.cat(column) for column in zip(*rows, strict=True)])


def shard(count: int, batch_size: int, ranks: Ranks) -> Iterator[list[int]]:
    """The numbers of this rank, in batches."""
    own = list(range(ranks.rank, count, ranks.world))
    for start in range(0, len(own), batch_size):
        yield own[start : start + batch_size]


def merged_over_ranks(
    suite: MetricSuite, suites: Callable[[], MetricSuite], ranks: Ranks
) -> MetricSuite:
    """The suite with the states of all ranks; a rank without pictures has none."""
    if ranks.world == 1:
        return suite
    states: list[Mapping[str, Tensor]] = [{}] * ranks.world
    dist.all_gather_object(states, suite.state())
    whole = suites()
    for state in states:
        part = suites()
        part.load_state(state)
        whole.merge(part)
    return whole


def better(name: str, value: float, best: Mapping[str, float], higher: bool) -> bool:
    """Whether `value` beats the best one so far."""
    if value != value:
        return False
    return name not in best or (value > best[name] if higher else value < best[name])


@dataclass(frozen=True)
class DegradedFaces:
    """Good faces without jitter, each degraded by a seed made of (seed, its number)."""

    dataset: FaceDataset
    framing: Framing
    recipe: Mixture
    seed: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def pairs(self, numbers: Sequence[int]) -> Pair:
        """Degraded pairs."""
        batch = collate([self.dataset[n] for n in numbers]).to(self.device)
        draws = SampleDraws(self.seed)
        faces = place_in_frame(Crops(batch.gt, batch.mask), self.framing, draws, numbers)
        done = degrade(faces.gt, self.recipe, seeds=draws.integers("val.degrade", numbers))
        return Pair(done.lq, done.gt, faces.mask)


@dataclass(frozen=True)
class StoredPairs:
    """Bad and good pictures of a paired data set."""

    dataset: PairedDataset
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def pairs(self, numbers: Sequence[int]) -> Pair:
        """Stored pairs."""
        batch = collate([self.dataset[n] for n in numbers]).to(self.device)
        assert batch.lq is not None
        return Pair(_signed(batch.lq), _signed(batch.gt), batch.mask.float())


def open_validation(
    options: FaceDatasetOptions | PairedDatasetOptions,
    out_size: int,
    recipe: Mixture,
    seed: int,
    device: torch.device,
) -> DegradedFaces | StoredPairs:
    """The set of a validation block."""
    dataset = open_dataset(options, out_size)
    if isinstance(dataset, PairedDataset):
        return StoredPairs(dataset, device)
    assert isinstance(options, FaceDatasetOptions)
    size = options.out_size or out_size
    framing = Framing(size, options.frame.zoom, options.frame.centre)
    return DegradedFaces(dataset, framing, recipe, seed, device)


def _signed(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


@torch.no_grad()
def validate_prior(
    generator: nn.Module,
    dataset: FaceDataset,
    options: FaceDatasetOptions,
    size: int,
    suites: Callable[[], MetricSuite],
    ranks: Ranks,
    seed: int,
    sheet: Path | None,
    samples: int,
) -> dict[str, float]:
    """Unpaired metrics of as many generated faces as there are real ones; stored noise, fixed z.

    `sheet`: where the first `samples` faces are written, a row of eight at a time.
    """
    draws, suite = SampleDraws(seed), suites()
    framing = Framing(size, options.frame.zoom, options.frame.centre)
    for numbers in shard(len(dataset), options.batch_size_per_gpu, ranks):
        batch = collate([dataset[n] for n in numbers]).to(ranks.device)
        real = place_in_frame(Crops(batch.gt, batch.mask), framing, draws, numbers)
        fake = faces_of(generator, draws, numbers, ranks.device, size)
        suite.update(fake, real.gt)
    if sheet is not None and ranks.first and samples > 0:
        columns = min(8, samples)
        rows = max(1, samples // columns)
        grid = [
            faces_of(generator, draws, list(range(c * rows, (c + 1) * rows)), ranks.device, size)
            for c in range(columns)
        ]
        save_grid(sheet, grid)
    return merged_over_ranks(suite, suites, ranks).result()


def faces_of(
    generator: nn.Module, draws: SampleDraws, numbers: list[int], device: torch.device, size: int
) -> torch.Tensor:
    """Faces [n,3,size,size] of numbered z."""
    z_dim = getattr(generator, "z_dim", generator.w_dim)
    z = draws.normal("val.z", numbers, z_dim).to(device)  # type: ignore[arg-type]
    if isinstance(generator, MobileStyleGAN):
        w_plus = generator.mapping(z)[:, None].expand(-1, generator.num_styles, -1)
        return shrunken_picture(generator, w_plus, size)
    found: torch.Tensor = generator(z)
    return found


Validate = Callable[[Progress], Mapping[str, float]]


def build_validator(
    options: Options, task: Task, folder: ExperimentFolder, ranks: Ranks, log: Log
) -> Validate | None:
    """What `fit` calls to validate, or None without validation sets."""
    if not options.val_sets:
        return None
    suites = suites_of(options, ranks)
    if isinstance(task, PriorTask):
        return _prior_validator(options, task, suites, folder, ranks)
    restore = restorer_of(task.trained.averages["net_g"], options, ranks)
    sets = open_sets(options, ranks)

    def validate(progress: Progress) -> Mapping[str, float]:
        values: dict[str, float] = {}
        for one in sets:
            values |= validate_set(restore, one, suites, options.val.fidelity, ranks)
            if options.val.save_img and ranks.first:
                save_pictures(
                    restore,
                    one,
                    options.val.fidelity,
                    options.val.num_images_saved,
                    folder.pictures / f"{one.name}_{progress.step}.png",
                )
        keep_best(options, task, folder, progress, values, ranks, log)
        return values

    return validate


def open_sets(options: Options, ranks: Ranks) -> list[ValidationSet]:
    """The validation sets of an option file."""
    size = sizes_of(options).gt
    sets = []
    for name, block in options.val_sets.items():
        recipe = mixture_of(options.degradation_of(name))
        source = open_validation(block, size, recipe, options.val.seed, ranks.device)
        sets.append(ValidationSet(name, source, block.batch_size_per_gpu))
    return sets


def restorer_of(average: nn.Module, options: Options, ranks: Ranks) -> Restore:
    """A function that restores with a network, as the training paints."""
    input_size = sizes_of(options).network
    level = options.train.fidelity.above_level if options.train else 0

    def restore(lq: Tensor, fidelity: float, size: int) -> Tensor:
        dial = torch.full((len(lq),), fidelity, device=ranks.device)
        with torch.no_grad():
            return paint(average, lq, dial, size, input_size, level).image.clamp(-1, 1)

    return restore


def suites_of(options: Options, ranks: Ranks) -> Callable[[], MetricSuite]:
    """Builds empty suites of the metrics of an option file; their networks are loaded once."""
    tools = {name: _tool(block, ranks) for name, block in options.val.metrics.items()}
    return lambda: MetricSuite(tools, {name: name for name in tools})


def keep_best(
    options: Options,
    task: Task,
    folder: ExperimentFolder,
    progress: Progress,
    values: Mapping[str, float],
    ranks: Ranks,
    log: Log,
) -> None:
    """Note the best value of each metric of the first set; the first metric keeps net_g_best."""
    first_set = next(iter(options.val_sets))
    for index, (name, block) in enumerate(options.val.metrics.items()):
        key = f"{first_set}/{name}"
        sense = block.better or METRICS[block.metric].better
        if key not in values or not better(key, values[key], progress.best, sense == "higher"):
            continue
        progress.best[key] = values[key]
        if index == 0 and ranks.first:
            average = task.trained.averages["net_g"]
            folder.save_best("net_g", task.trained.networks["net_g"], average)
            log.say(f"best {key} so far: {values[key]:.5g}; kept as net_g_best.pth")


def _prior_validator(
    options: Options,
    task: PriorTask,
    suites: Callable[[], MetricSuite],
    folder: ExperimentFolder,
    ranks: Ranks,
) -> Validate:
    name, block = next(iter(options.val_sets.items()))
    paired = [n for n, m in options.val.metrics.items() if METRICS[m.metric].paired]
    if paired:
        raise OptionError(
            f"val.metrics.{paired[0]}: compares pairs, a prior has none; expected frechet or niqe"
        )
    if not isinstance(block, FaceDatasetOptions):
        raise OptionError(f"datasets.{name}: a prior is validated on a FaceDataset")
    dataset = open_dataset(block, task.framing.size)

    def validate(progress: Progress) -> Mapping[str, float]:
        path = folder.pictures / f"{name}_{progress.step}.png" if options.val.save_img else None
        values = validate_prior(
            task.trained.averages["net_g"],
            dataset,  # type: ignore[arg-type]
            block,
            task.framing.size,
            suites,
            ranks,
            options.val.seed,
            path,
            options.val.num_images_saved,
        )
        return {f"{name}/{metric}": value for metric, value in values.items()}

    return validate


def _tool(block: MetricOptions, ranks: Ranks) -> Metric:
    """One metric of an option file, its network loaded."""
    kind, path = block.metric, block.network_path
    if kind in ("psnr", "ssim"):
        measure = psnr if kind == "psnr" else ssim
        border, luma = block.crop_border, block.test_y_channel

        def per_image(restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
            return measure(restored, gt, _bordered(mask, gt, border), luma=luma)

        return MeanMetric(per_image)
    if kind == "niqe":
        if path is None:
            raise OptionError(
                "val.metrics: niqe needs network_path, the statistics that python -m "
                "benchmarks quality --fit-niqe FOLDER --niqe FILE writes"
            )
        return METRICS["niqe"].build(MetricTools(niqe_statistics=load_niqe(path)))
    assert path is not None
    if kind in ("lpips", "frechet"):
        features = load_feature_network(path).to(ranks.device)
        heads = None
        if kind == "lpips" and features.kind == "squeezenet1_1":
            heads = [h.to(ranks.device) for h in load_lpips_heads("squeeze")]
        if kind == "lpips":
            return MeanMetric(lpips_measure(features, heads))
        return METRICS[kind].build(MetricTools(feature_network=features))
    if kind == "identity":
        network = load_identity_network(path).to(ranks.device)
        return METRICS[kind].build(MetricTools(identity_network=network))
    return METRICS[kind].build(
        MetricTools(landmark_network=load_landmark_network(path).to(ranks.device))
    )


def _bordered(mask: Tensor | None, gt: Tensor, border: int) -> Tensor | None:
    """The mask without a border of some pixels (BasicSR's crop_border)."""
    if border == 0:
        return mask
    inner = gt.new_zeros(len(gt), 1, *gt.shape[2:])
    inner[:, :, border:-border, border:-border] = 1
    return inner if mask is None else mask * inner
