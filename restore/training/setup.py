"""Options -> Run: networks, optimisers, data, losses, folder and log of a training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restore.checkpoints.architectures import architecture_of, header_of
from restore.checkpoints.model_file import load_prior_heads, save_model_file
from restore.errors import OptionError
from restore.networks.mobile_stylegan import (
    MobileStyleGAN,
    PriorHeads,
    principal_axes,
    w_statistics,
)
from restore.networks.prior_restorer import PriorRestorer
from restore.networks.unet_encoder import DegradationAwareEncoder
from restore.options.data import FaceDatasetOptions
from restore.options.networks import MobileStyleGANOptions, StyleGAN2Options
from restore.options.schema import PARTS, Options, dump_options
from restore.training.build import (
    build_face_discriminator,
    build_generator,
    build_losses,
    build_optimiser,
    build_part_discriminator,
    fill_discriminator,
    fill_network,
    mixture_of,
    sizes_of,
)
from restore.training.distributed import Ranks, same_weights
from restore.training.experiment import ExperimentFolder, Progress, folder_of, open_log
from restore.training.feed import (
    BankOptions,
    FaceBank,
    RestorerFeed,
    SampleDraws,
    framing_of,
    open_crops,
    train_set_of,
)
from restore.training.fit import Pace, Run, Task, Trained, averaged_copy, schedule_of
from restore.training.precision import stepper_of
from restore.training.prior import AdaptiveStrength, PriorPlan, PriorTask
from restore.training.restorer import FaceDiscriminator, RestorerPlan, RestorerTask, TrainingSet
from restore.training.validation import build_validator


def build_prior(options: Options, ranks: Ranks) -> PriorTask:
    """The training of a prior."""
    train = options.train
    assert train is not None and train.optim_d is not None and options.network_d is not None
    assert isinstance(options.network_g, (StyleGAN2Options, MobileStyleGANOptions))
    train_set = train_set_of(options)
    device, draws = ranks.device, SampleDraws(options.manual_seed)
    network = build_generator(options.network_g).to(device).train()
    discriminator = build_face_discriminator(options.network_d, options.plugins, device)
    path = options.path
    if path.pretrain_network_g is not None:
        strict = path.strict_load_g is not False
        fill_network(network, path.pretrain_network_g, path.param_key_g, strict, "network_g")
    fill_discriminator(options, discriminator)
    average = averaged_copy(network)
    lr_mlp, painted = 0.01, sizes_of(options).network
    if isinstance(options.network_g, StyleGAN2Options):
        lr_mlp = options.network_g.lr_mlp
    elif options.network_g.freeze_levels:
        freeze_levels(network, options.network_g.freeze_levels)
    heads = None
    if isinstance(options.network_g, MobileStyleGANOptions) and options.network_g.through_head:
        heads = frozen_above(network, painted)
    size = train_set.out_size or painted
    if size != painted:
        raise OptionError(
            f"datasets.train.out_size: found {size}, expected network_g.out_size {painted}"
        )
    trained = Trained(
        networks={"net_g": network, "net_d": discriminator.network},
        averages={"net_g": average},
        optimisers={
            "net_g": build_optimiser([network], train.optim_g, lr_mlp, train.net_g_reg_every),
            "net_d": build_optimiser(
                [discriminator.network], train.optim_d, lazy_every=train.net_d_reg_every
            ),
        },
    )
    batch, augment = train_set.batch_size_per_gpu, train.augment
    plan = PriorPlan(
        batch_size=batch,
        size=size,
        accumulation=train.batch_accumulation,
        ema_decay=train.ema_decay_for(batch * train.batch_accumulation * ranks.world),
        mixing_prob=train.mixing_prob,
        r1_weight=train.r1_reg_weight,
        r1_every=train.net_d_reg_every,
        path_weight=train.path_reg_weight,
        path_every=train.net_g_reg_every,
        path_shrink=train.path_batch_shrink,
        d_alone=train.net_d_init_iters,
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
        stepper_of(options, ranks),
        ranks,
        plan,
        strength,
        heads,
    )


def freeze_levels(generator: nn.Module, largest: int) -> None:
    """Keep the mapping and the levels of a MobileStyleGAN up to `largest` px as they are.

    What moves a head and tells a person from another stays; how skin, hair and light are drawn is
    trained. `conv_4` and its constant are the level of 4 px.
    """
    assert isinstance(generator, MobileStyleGAN)
    kept: list[nn.Module] = [generator.mapping_layers, generator.conv_4]
    kept += [generator.blocks[str(size)] for size in generator.levels if size <= largest]
    for module in kept:
        module.requires_grad_(False)
    generator.const.requires_grad_(False)


def frozen_above(generator: nn.Module, size: int) -> PriorHeads:
    """Keep what lies above level `size`; returns the packaged heads, which paint in its place.

    Since those levels stay, so does what the head knows of them. Raises OptionError where the
    generator, as it was loaded, is not the one that the packaged heads belong to.
    """
    assert isinstance(generator, MobileStyleGAN)
    heads = load_prior_heads(generator)
    if heads is None or size not in heads.sizes:
        found = "none for these weights" if heads is None else f"some of {heads.sizes}"
        raise OptionError(
            f"network_g.through_head: expected a packaged head of {size} px, found {found}; "
            "load default-prior, or leave it out to train through the full picture"
        )
    for level in generator.levels:
        if level > size:
            generator.blocks[str(level)].requires_grad_(False)
    generator.to_rgb.requires_grad_(False)
    return heads


def build_restorer(options: Options, ranks: Ranks) -> RestorerTask:
    """The training of a restorer."""
    train = options.train
    assert train is not None
    train_set = train_set_of(options)
    device, draws = ranks.device, SampleDraws(options.manual_seed)
    network = build_generator(options.network_g, options.plugins)
    sizes = sizes_of(options)
    w_mean, w_variance = initialise_codes(network)
    path = options.path
    if path.pretrain_network_g is not None:
        strict = path.strict_load_g is not False
        fill_network(network, path.pretrain_network_g, path.param_key_g, strict, "network_g")
    network = network.to(device).train()
    discriminator, parts = _discriminators(options, ranks)
    if train.channels_last:
        network = network.to(memory_format=torch.channels_last)
    average = averaged_copy(network)
    if train.compile:
        compile_restorer(network)

    trained = _trained(options, network, average, discriminator, parts)
    fixed = train.gan_opt or train.gan_component_opt
    gan_from = max(fixed.start_iter, train.net_d_init_iters) if fixed else 0
    sets = [
        _training_set(options, name, network, draws, ranks, bool(parts))
        for name in options.datasets
        if name.startswith("train")
    ]
    mean = None if w_mean is None else w_mean.to(device)
    losses = build_losses(options, device, parts, mean, w_variance)
    batch = train_set.batch_size_per_gpu
    together = batch * train.batch_accumulation * ranks.world
    plan = RestorerPlan(
        accumulation=train.batch_accumulation,
        input_size=sizes.network,
        ema_decay=train.ema_decay_for(together),
        ema_batch=together,
        codes_first=train.codes_first_iter,
        codes_batch=train.codes_first_batch or batch,
        gan_from=gan_from,
        d_from=max(0, gan_from - train.net_d_init_iters),
        g_every=train.net_d_iters,
        r1_weight=train.r1_reg_weight,
        r1_every=train.net_d_reg_every,
        channels_last=train.channels_last,
    )
    return RestorerTask(
        trained, sets, losses, discriminator, stepper_of(options, ranks), ranks, plan
    )


def _training_set(
    options: Options, name: str, network: nn.Module, draws: SampleDraws, ranks: Ranks, parts: bool
) -> TrainingSet:
    """One of the blocks train, train_2, ... with its crops and its generated faces."""
    train, block = options.train, options.datasets[name]
    assert train is not None
    if not isinstance(block, FaceDatasetOptions):
        raise OptionError(f"datasets.{name}: pairs; expected a FaceDataset to train on")
    size = block.out_size or sizes_of(options).gt
    bank, codes_bank = _banks(options, network, draws, size, ranks)
    feed = RestorerFeed(
        draws=draws,
        framing=framing_of(block, size),
        recipe=mixture_of(options.degradation_of(name)),
        device=ranks.device,
        source=open_crops(block, size, ranks.device, options.manual_seed),
        bank=bank,
        codes_bank=codes_bank,
        share=train.generated.share,
        fidelity=train.fidelity,
        parts=parts,
    )
    return TrainingSet(feed, block.batch_size_per_gpu, block.share)


def initialise_codes(network: nn.Module) -> tuple[Tensor | None, float]:
    """Mean of w and the mean variance of its entries; an encoder's code head starts from both.

    The basis of the head becomes the principal axes of w times their deviations, so that every
    coefficient starts at a like scale.
    """
    if not isinstance(network, PriorRestorer):
        return None, 1.0
    mean, covariance = w_statistics(network.decoder, 16384)  # type: ignore[arg-type]
    if isinstance(network.encoder, DegradationAwareEncoder):
        head = network.encoder.code_head
        axes = principal_axes(covariance, head.rank)
        with torch.no_grad():
            head.basis[: len(axes)].copy_(axes)
            head.w_mean.copy_(network.decoder.w_mean)  # type: ignore[arg-type]
    return mean, float(covariance.diagonal().mean())


def compile_restorer(network: nn.Module) -> None:
    """torch.compile where one backward pass is enough; D, whose R1 wants two, is left as it is."""
    if isinstance(network, PriorRestorer):
        network.encoder.compile(dynamic=False)
        decoder = network.decoder
        decoder.synthesis = torch.compile(decoder.synthesis, dynamic=False)  # type: ignore[method-assign]
    else:
        network.compile(dynamic=False)


def _discriminators(
    options: Options, ranks: Ranks
) -> tuple[FaceDiscriminator | None, dict[str, nn.Module]]:
    train = options.train
    assert train is not None
    discriminator = None
    if train.gan_opt is not None:
        assert options.network_d is not None
        discriminator = build_face_discriminator(options.network_d, options.plugins, ranks.device)
    fill_discriminator(options, discriminator)
    parts: dict[str, nn.Module] = {}
    if train.gan_component_opt is not None:
        for part in PARTS:
            network = build_part_discriminator(getattr(options, f"network_d_{part}"))
            path = getattr(options.path, f"pretrain_network_d_{part}")
            if path is not None:
                fill_network(network, path, "params", True, f"network_d_{part}")
            parts[part] = network.to(ranks.device)
    if train.channels_last:
        for network in (*parts.values(), *([discriminator.network] if discriminator else [])):
            network.to(memory_format=torch.channels_last)
    return discriminator, parts


def _trained(
    options: Options,
    network: nn.Module,
    average: nn.Module,
    discriminator: FaceDiscriminator | None,
    parts: dict[str, nn.Module],
) -> Trained:
    train = options.train
    assert train is not None
    lr_mlp = getattr(options.network_g, "lr_mlp", 0.01)
    networks = {"net_g": network}
    optimisers = {"net_g": build_optimiser([network], train.optim_g, lr_mlp)}
    if discriminator is not None:
        assert train.optim_d is not None
        networks["net_d"] = discriminator.network
        lazy = train.net_d_reg_every if train.r1_reg_weight > 0 else None
        optimisers["net_d"] = build_optimiser(
            [discriminator.network], train.optim_d, lazy_every=lazy
        )
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
    # Without heads: truth comes from the prior's own last layer, shrunk; and a face must look the
    # same after a resume, also where heads are trained along.
    prior = averaged_copy(network.decoder)
    if hasattr(prior, "heads"):
        prior.heads = nn.ModuleDict()
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


def export_latest(
    options: Options, task: Task, folder: ExperimentFolder, progress: Progress, digest: str
) -> None:
    """Write models/net_g_latest.safetensors: averaged weights in float32 with their header.

    Networks of plugins have no place in such a file; their .pth are all there is. `digest`:
    SHA-256 of the resolved options.
    """
    named = architecture_of(options.network_g)
    if named is None:
        return
    card = (
        f"# {options.name}\n\nA training in progress: {progress.images} images, "
        f"{progress.step} steps, {progress.seconds / 3600:.2f} h. Averaged weights.\n"
    )
    header: dict[str, Any] = {
        **header_of(*named),
        "card": card,
        "training_options_sha256": digest,
    }
    average = task.trained.averages["net_g"]
    save_model_file(folder.models / "net_g_latest.safetensors", average, header, torch.float32)


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

    folder = folder_of(options)
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
