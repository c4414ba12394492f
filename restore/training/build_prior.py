"""The training of a prior from its options."""

from __future__ import annotations

from torch import nn

from restore.checkpoints.prior_heads_file import load_prior_heads
from restore.errors import OptionError
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.options.networks import MobileStyleGANOptions, StyleGAN2Options
from restore.options.schema import Options
from restore.training.ada import AdaptiveStrength
from restore.training.build_networks import build_generator, build_judge, fill_judge, fill_network
from restore.training.crop_source import framing_of, open_crops, train_set_of
from restore.training.distributed import Ranks
from restore.training.ema import averaged_copy
from restore.training.optimisers import build_optimiser
from restore.training.precision import stepper_of
from restore.training.prior_task import PriorPlan, PriorTask
from restore.training.sample_draws import SampleDraws
from restore.training.sizes import sizes_of
from restore.training.task import Trained


def build_prior(options: Options, ranks: Ranks) -> PriorTask:
    """The training of a prior."""
    train = options.train
    assert train is not None and train.optim_d is not None and options.network_d is not None
    assert isinstance(options.network_g, (StyleGAN2Options, MobileStyleGANOptions))
    train_set = train_set_of(options)
    device, draws = ranks.device, SampleDraws(options.manual_seed)
    network = build_generator(options.network_g).to(device).train()
    judge = build_judge(options.network_d, options.plugins, device)
    path = options.path
    if path.pretrain_network_g is not None:
        strict = path.strict_load_g is not False
        fill_network(network, path.pretrain_network_g, path.param_key_g, strict, "network_g")
    fill_judge(options, judge)
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
        networks={"net_g": network, "net_d": judge.network},
        averages={"net_g": average},
        optimisers={
            "net_g": build_optimiser([network], train.optim_g, lr_mlp, train.net_g_reg_every),
            "net_d": build_optimiser(
                [judge.network], train.optim_d, lazy_every=train.net_d_reg_every
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
