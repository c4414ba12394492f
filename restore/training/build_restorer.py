"""The training of a restorer from its options: networks, banks of faces, feed, losses, plan."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from restore.errors import OptionError
from restore.networks.mobile_stylegan import principal_axes, w_statistics
from restore.networks.prior_restorer import PriorRestorer
from restore.networks.unet_encoder import DegradationAwareEncoder
from restore.options.data import FaceDatasetOptions
from restore.options.schema import PARTS, Options
from restore.training.build_losses import build_losses
from restore.training.build_networks import (
    build_generator,
    build_judge,
    build_part_discriminator,
    fill_judge,
    fill_network,
)
from restore.training.crop_source import framing_of, open_crops, train_set_of
from restore.training.distributed import Ranks
from restore.training.ema import averaged_copy
from restore.training.generated import BankOptions, FaceBank
from restore.training.optimisers import build_optimiser
from restore.training.precision import stepper_of
from restore.training.recipes import mixture_of
from restore.training.restorer_feed import RestorerFeed
from restore.training.restorer_step import Judge
from restore.training.restorer_task import RestorerPlan, RestorerTask, TrainingSet
from restore.training.sample_draws import SampleDraws
from restore.training.sizes import sizes_of
from restore.training.task import Trained


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
    judge, parts = _discriminators(options, ranks)
    if train.channels_last:
        network = network.to(memory_format=torch.channels_last)
    average = averaged_copy(network)
    if train.compile:
        compile_restorer(network)

    trained = _trained(options, network, average, judge, parts)
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
    return RestorerTask(trained, sets, losses, judge, stepper_of(options, ranks), ranks, plan)


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


def _discriminators(options: Options, ranks: Ranks) -> tuple[Judge | None, dict[str, nn.Module]]:
    train = options.train
    assert train is not None
    judge = None
    if train.gan_opt is not None:
        assert options.network_d is not None
        judge = build_judge(options.network_d, options.plugins, ranks.device)
    fill_judge(options, judge)
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
            network.to(memory_format=torch.channels_last)
    return judge, parts


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
