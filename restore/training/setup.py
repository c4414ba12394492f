"""Options -> Run: networks, optimisers, data, losses, folder and log of a training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from restore.config.data_options import FaceDatasetOptions
from restore.config.load import dump_options
from restore.config.network_options import (
    GFPGANOptions,
    MobileRestorerOptions,
    StyleGAN2Options,
)
from restore.config.schema import PARTS, Options
from restore.data.frame import FrameJitter
from restore.errors import OptionError
from restore.networks.prior_restorer import PriorRestorer
from restore.networks.unet_encoder import DegradationAwareEncoder
from restore.training.ada import AdaptiveStrength
from restore.training.build_losses import build_losses
from restore.training.build_networks import (
    build_generator,
    build_judge,
    build_part_discriminator,
    fill_network,
)
from restore.training.crop_source import open_crops
from restore.training.distributed import Ranks, same_weights
from restore.training.ema import averaged_copy
from restore.training.experiment_folder import ExperimentFolder
from restore.training.export import export_latest
from restore.training.faces_in_frame import Framing
from restore.training.generated import BankOptions, FaceBank
from restore.training.log import open_log
from restore.training.loop import Pace, Run
from restore.training.optimisers import build_optimiser
from restore.training.precision import Stepper
from restore.training.prior_task import PriorPlan, PriorTask
from restore.training.progress import Progress
from restore.training.recipes import mixture_of
from restore.training.restorer_feed import RestorerFeed
from restore.training.restorer_step import Judge
from restore.training.restorer_task import RestorerPlan, RestorerTask
from restore.training.sample_draws import SampleDraws
from restore.training.schedules import schedule_of
from restore.training.size_heads import mean_w
from restore.training.task import Task, Trained
from restore.training.validators import build_validator


@dataclass(frozen=True)
class Sizes:
    """px that the network reads, and px at which it is trained and scored."""

    network: int
    gt: int


def build_run(options: Options, ranks: Ranks, option_file: Path | None, resumed: bool) -> Run:
    """Everything that `fit` needs. Makes the experiment folder, on the first rank.

    Raises errors of `restore.errors` for whatever does not fit, before anything is written.
    """
    train = options.train
    if train is None:
        raise OptionError("train: missing; expected a block that says how to train")
    torch.manual_seed(options.manual_seed)
    task = build_prior(options, ranks) if options.is_prior else build_restorer(options, ranks)
    same_weights([*task.trained.networks.values(), *task.trained.averages.values()], ranks)
    # Ranks start alike and then go their own ways, for networks that draw random numbers.
    torch.manual_seed(options.manual_seed + ranks.rank)

    folder = ExperimentFolder(Path(options.path.experiments_root) / options.name)
    resolved = dump_options(options)
    if ranks.first:
        folder.create(keep_old=resumed)
        folder.keep_options(option_file, resolved)
    log = open_log(
        folder.root, options.name, ranks.first, options.logger.use_tb_logger, options.logger.use_csv
    )
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


def build_restorer(options: Options, ranks: Ranks) -> RestorerTask:
    """The training of a restorer."""
    train = options.train
    assert train is not None
    train_set = _train_set(options)
    device, draws = ranks.device, SampleDraws(options.manual_seed)
    network = build_generator(options.network_g, options.plugins)
    sizes = sizes_of(options)
    w_mean, w_variance = initialise_codes(network)
    path = options.path
    if path.pretrain_network_g is not None:
        strict = path.strict_load_g is not False
        fill_network(network, path.pretrain_network_g, path.param_key_g, strict, "network_g")
    network = network.to(device).train()
    judge, parts = _discriminators(options, ranks)
    if train.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = averaged_copy(network)
    if train.compile:
        compile_restorer(network)

    trained = _trained(options, network, average, judge, parts)
    fixed = train.gan_opt or train.gan_component_opt
    gan_from = max(fixed.start_iter, train.net_d_init_iters) if fixed else 0
    bank, codes_bank = _banks(options, network, draws, sizes.gt, ranks)
    feed = RestorerFeed(
        draws=draws,
        framing=framing_of(train_set, sizes.gt),
        recipe=mixture_of(options.degradation_of("train")),
        device=device,
        source=open_crops(train_set, sizes.gt, device, options.manual_seed),
        bank=bank,
        codes_bank=codes_bank,
        share=train.generated.share,
        fidelity=train.fidelity,
        parts=bool(parts),
    )
    mean = None if w_mean is None else w_mean.to(device)
    losses = build_losses(options, device, parts, mean, w_variance)
    batch = train_set.batch_size_per_gpu
    together = batch * train.batch_accumulation * ranks.world
    plan = RestorerPlan(
        batch_size=batch,
        accumulation=train.batch_accumulation,
        input_size=sizes.network,
        ema_decay=train.ema_decay_for(together),
        codes_first=train.codes_first_iter,
        codes_batch=train.codes_first_batch or batch,
        gan_from=gan_from,
        d_from=max(0, gan_from - train.net_d_init_iters),
        g_every=train.net_d_iters,
        r1_weight=train.r1_reg_weight,
        r1_every=train.net_d_reg_every,
        channels_last=train.channels_last,
    )
    return RestorerTask(trained, feed, losses, judge, _stepper(options, ranks), ranks, plan)


def build_prior(options: Options, ranks: Ranks) -> PriorTask:
    """The training of a prior."""
    train = options.train
    assert train is not None and train.optim_d is not None and options.network_d is not None
    assert isinstance(options.network_g, StyleGAN2Options)
    train_set = _train_set(options)
    device, draws = ranks.device, SampleDraws(options.manual_seed)
    network = build_generator(options.network_g).to(device).train()
    judge = build_judge(options.network_d, options.plugins, device)
    _fill(options, network, judge)
    average = averaged_copy(network)
    size = train_set.out_size or options.network_g.out_size
    if size != options.network_g.out_size:
        raise OptionError(
            f"datasets.train.out_size: found {size}, expected network_g.out_size "
            f"{options.network_g.out_size}"
        )
    trained = Trained(
        networks={"net_g": network, "net_d": judge.network},
        averages={"net_g": average},
        optimisers={
            "net_g": build_optimiser(
                [network], train.optim_g, options.network_g.lr_mlp, train.net_g_reg_every
            ),
            "net_d": build_optimiser(
                [judge.network], train.optim_d, lazy_every=train.net_d_reg_every
            ),
        },
    )
    batch, augment = train_set.batch_size_per_gpu, train.augment
    plan = PriorPlan(
        batch_size=batch,
        accumulation=train.batch_accumulation,
        ema_decay=train.ema_decay_for(batch * train.batch_accumulation * ranks.world),
        mixing_prob=train.mixing_prob,
        r1_weight=train.r1_reg_weight,
        r1_every=train.net_d_reg_every,
        path_weight=train.path_reg_weight,
        path_every=train.net_g_reg_every,
        path_shrink=train.path_batch_shrink,
    )
    strength = AdaptiveStrength(
        strength=0.0 if augment.mode == "off" else augment.prob,
        target=augment.target,
        ramp_images=1000 * augment.ramp_kimg,
        largest=augment.max_prob,
        adaptive=augment.mode == "adaptive",
    )
    return PriorTask(
        trained,
        open_crops(train_set, size, device, options.manual_seed),
        framing_of(train_set, size),
        draws,
        _stepper(options, ranks),
        ranks,
        plan,
        strength,
    )


def sizes_of(options: Options) -> Sizes:
    """What the restorer reads, and at which size its pictures are trained."""
    block = options.train_set or next(iter(options.val_sets.values()), None)
    wanted = block.out_size if block is not None else None
    if isinstance(options.network_g, MobileRestorerOptions):
        size = options.network_g.crop_size
    elif isinstance(options.network_g, (GFPGANOptions, StyleGAN2Options)):
        size = options.network_g.out_size
    elif wanted is None:
        raise OptionError("datasets.train.out_size: missing; a plugin's network does not say it")
    else:
        size = wanted
    return Sizes(size, wanted or size)


def initialise_codes(network: nn.Module) -> tuple[Tensor | None, float]:
    """Mean of w and the mean variance of its entries; an encoder's code head starts from both.

    The basis of the head becomes the principal axes of w times their deviations, so that every
    coefficient starts at a like scale.
    """
    if not isinstance(network, PriorRestorer):
        return None, 1.0
    mean, covariance = mean_w(network.decoder, 16384)  # type: ignore[arg-type]
    if isinstance(network.encoder, DegradationAwareEncoder):
        head = network.encoder.code_head
        values, vectors = torch.linalg.eigh(covariance.double())
        axes = (vectors * values.clamp_min(0).sqrt()).T.flip(0)[: head.rank].float()
        with torch.no_grad():
            head.basis[: len(axes)].copy_(axes)
            head.w_mean.copy_(network.decoder.w_mean)  # type: ignore[arg-type]
    return mean, float(covariance.diagonal().mean())


def framing_of(options: FaceDatasetOptions, size: int) -> Framing:
    """How the crops of a training set get into the frame."""
    frame = options.frame
    moves = frame.jitter_scale or frame.jitter_rotation or frame.jitter_shift
    jitter = None
    if moves:
        jitter = FrameJitter(frame.jitter_scale, frame.jitter_rotation, frame.jitter_shift)
    return Framing(options.out_size or size, frame.zoom, frame.centre, jitter)


def compile_restorer(network: nn.Module) -> None:
    """torch.compile where one backward pass is enough; D, whose R1 wants two, is left as it is."""
    if isinstance(network, PriorRestorer):
        network.encoder.compile(dynamic=False)
        decoder = network.decoder
        decoder.synthesis = torch.compile(decoder.synthesis, dynamic=False)  # type: ignore[method-assign]
    else:
        network.compile(dynamic=False)


def _train_set(options: Options) -> FaceDatasetOptions:
    block = options.train_set
    assert isinstance(block, FaceDatasetOptions)
    return block


def _stepper(options: Options, ranks: Ranks) -> Stepper:
    train = options.train
    assert train is not None
    return Stepper(ranks, train.precision, train.clip_grad_norm, train.skip_nonfinite)


def _discriminators(options: Options, ranks: Ranks) -> tuple[Judge | None, dict[str, nn.Module]]:
    train = options.train
    assert train is not None
    judge = None
    if train.gan_opt is not None:
        assert options.network_d is not None
        judge = build_judge(options.network_d, options.plugins, ranks.device)
    _fill(options, None, judge)
    parts: dict[str, nn.Module] = {}
    if train.gan_component_opt is not None:
        for part in PARTS:
            network = build_part_discriminator(getattr(options, f"network_d_{part}"))
            path = getattr(options.path, f"pretrain_network_d_{part}")
            if path is not None:
                fill_network(network, path, "params", True, f"network_d_{part}")
            parts[part] = network.to(ranks.device)
    if train.channels_last:
        for network in (*parts.values(), *([judge.network] if judge else [])):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return judge, parts


def _fill(options: Options, generator: nn.Module | None, judge: Judge | None) -> None:
    path = options.path
    if generator is not None and path.pretrain_network_g is not None:
        strict = path.strict_load_g is not False
        fill_network(generator, path.pretrain_network_g, path.param_key_g, strict, "network_g")
    if judge is not None and path.pretrain_network_d is not None:
        strict = path.strict_load_d is not False
        key = path.param_key_d
        fill_network(judge.network, path.pretrain_network_d, key, strict, "network_d")


def _trained(
    options: Options,
    network: nn.Module,
    average: nn.Module,
    judge: Judge | None,
    parts: dict[str, nn.Module],
) -> Trained:
    train = options.train
    assert train is not None
    lr_mlp = getattr(options.network_g, "lr_mlp", 0.01)
    networks = {"net_g": network}
    optimisers = {"net_g": build_optimiser([network], train.optim_g, lr_mlp)}
    if judge is not None:
        assert train.optim_d is not None
        networks["net_d"] = judge.network
        lazy = train.net_d_reg_every if train.r1_reg_weight > 0 else None
        optimisers["net_d"] = build_optimiser([judge.network], train.optim_d, lazy_every=lazy)
    if parts:
        assert train.optim_component is not None
        networks |= {f"net_d_{part}": n for part, n in parts.items()}
        optimisers["net_d_parts"] = build_optimiser(parts.values(), train.optim_component)
    return Trained(networks, {"net_g": average}, optimisers)


def _banks(
    options: Options, network: nn.Module, draws: SampleDraws, size: int, ranks: Ranks
) -> tuple[FaceBank | None, FaceBank | None]:
    """The banks of generated faces: of the training, and of its codes-first phase."""
    train = options.train
    assert train is not None
    made = train.generated
    if made.share == 0 and train.codes_first_iter == 0:
        return None, None
    if not isinstance(network, PriorRestorer):
        raise OptionError("train.generated: network_g has no prior that could paint faces")
    if train.codes_first_iter and not hasattr(network.encoder, "codes"):
        raise OptionError("train.codes_first_iter: this encoder has no way down of its own")
    if not options.network_g.fix_decoder:  # type: ignore[union-attr]
        raise OptionError(
            "train.generated: with network_g.fix_decoder false the faces of a resumed run would "
            "differ; expected a frozen decoder"
        )
    prior = network.decoder
    # Many small launches would starve an accelerator; on a CPU one at a time is as fast.
    block = 8 if ranks.device.type == "cuda" else 1

    def bank(name: str) -> FaceBank:
        plan = BankOptions(
            size, made.truncation, made.fresh, made.keep, block, made.mixing_prob, name
        )
        return FaceBank(prior, draws, plan)

    return (
        bank("bank") if made.share else None,
        bank("codes_bank") if train.codes_first_iter else None,
    )


def decide_task(options: Options, ranks: Ranks) -> Task:
    """The training of an option file, without a folder: for benchmarks."""
    return build_prior(options, ranks) if options.is_prior else build_restorer(options, ranks)
