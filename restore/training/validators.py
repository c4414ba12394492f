"""The validation of an option file: which sets, which metrics, and what becomes of the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from restore.data.batches import open_dataset
from restore.errors import OptionError
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_landmark_network,
    load_lpips_heads,
)
from restore.metrics.lpips import lpips_measure
from restore.metrics.measure import MeanMetric, Metric
from restore.metrics.niqe import load_niqe
from restore.metrics.psnr_ssim import psnr, ssim
from restore.metrics.table import METRICS, MetricSuite, MetricTools
from restore.options.data import FaceDatasetOptions
from restore.options.schema import MetricOptions, Options
from restore.training.distributed import Ranks
from restore.training.experiment_folder import ExperimentFolder
from restore.training.log import Log
from restore.training.prior_task import PriorTask
from restore.training.prior_validation import validate_prior
from restore.training.progress import Progress
from restore.training.recipes import mixture_of
from restore.training.restorer_losses import paint
from restore.training.sizes import sizes_of
from restore.training.task import Task
from restore.training.validation import (
    Restore,
    ValidationSet,
    better,
    save_pictures,
    validate_set,
)
from restore.training.validation_sets import open_validation

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
                "restore.benchmarks quality --fit-niqe FOLDER FILE writes"
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
