"""Options -> Run: networks, optimisers, data, losses, folder and log of a training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from restore.errors import OptionError
from restore.options.schema import Options, dump_options
from restore.training.build_prior import build_prior
from restore.training.build_restorer import build_restorer
from restore.training.distributed import Ranks, same_weights
from restore.training.experiment_folder import ExperimentFolder
from restore.training.export import export_latest
from restore.training.log import open_log
from restore.training.loop import Pace, Run
from restore.training.progress import Progress
from restore.training.schedules import schedule_of
from restore.training.task import Task
from restore.training.validators import build_validator


def build_run(options: Options, ranks: Ranks, option_file: Path | None, resumed: bool) -> Run:
    """Everything that `fit` needs. Makes the experiment folder, on the first rank.

    Raises errors of `restore.errors` for whatever does not fit, before anything is written.
    """
    train = options.train
    if train is None:
        raise OptionError("train: missing; expected a block that says how to train")
    torch.manual_seed(options.manual_seed)
    task = build_task(options, ranks)
    same_weights([*task.trained.networks.values(), *task.trained.averages.values()], ranks)
    # Ranks start alike and then go their own ways, for networks that draw random numbers.
    torch.manual_seed(options.manual_seed + ranks.rank)

    folder = ExperimentFolder(Path(options.path.experiments_root) / options.name)
    resolved = dump_options(options)
    if ranks.first:
        folder.create(keep_old=resumed)
        folder.keep_options(option_file, resolved)
    log = open_log(folder.root, options, ranks.first)
    digest = hashlib.sha256(resolved.encode()).hexdigest()
    logger = options.logger
    return Run(
        name=options.name,
        task=task,
        pace=Pace(
            total_steps=train.total_iter,
            max_minutes=train.max_minutes,
            print_every=logger.print_freq,
            save_every=logger.save_checkpoint_freq,
            save_minutes=logger.save_minutes,
            validate_every=options.val.val_freq,
            validate_minutes=options.val.every_minutes,
            keep=logger.keep_states,
        ),
        schedule=schedule_of(train),
        folder=folder,
        log=log,
        ranks=ranks,
        progress=Progress(),
        validate=build_validator(options, task, folder, ranks, log),
        after_save=lambda progress: export_latest(options, task, folder, progress, digest),
    )


def build_task(options: Options, ranks: Ranks) -> Task:
    """The training of an option file, without a folder: benchmarks need no more."""
    return build_prior(options, ranks) if options.is_prior else build_restorer(options, ranks)
