"""From options to parts: networks filled from files, losses, optimisers, degradations and sizes."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restore.checkpoints.architectures import architecture_of, build_network
from restore.checkpoints.load import load_network
from restore.checkpoints.weights_file import read_state_dict
from restore.degradation.recipe import Mixture, Recipe, find_recipe
from restore.errors import CheckpointError, OptionError
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_lpips_heads,
)
from restore.losses.reconstruction import VggPerceptualLoss
from restore.networks.discriminators import (
    PartDiscriminator,
    PatchDiscriminator,
    build_discriminator,
)
from restore.networks.mobile_stylegan import w_statistics
from restore.networks.perceptual import LpipsLoss
from restore.networks.prior_restorer import PriorRestorer
from restore.networks.stylegan2 import StyleGAN2Generator
from restore.options.degradation import DegradationOptions
from restore.options.networks import (
    DiscriminatorOptions,
    GeneratorOptions,
    GFPGANOptions,
    MobileRestorerOptions,
    MobileStyleGANOptions,
    PartDiscriminatorOptions,
    PatchDiscriminatorOptions,
    PluginNetworkOptions,
    StyleGAN2Options,
)
from restore.options.schema import Options
from restore.options.training import OptimizerOptions, PerceptualOptions, TrainOptions
from restore.training.restorer import FaceDiscriminator, LossWeights, RestorerLosses


@dataclass(frozen=True)
class Sizes:
    """px that the network reads, and px at which it is trained and scored."""

    network: int
    gt: int


def sizes_of(options: Options) -> Sizes:
    """What the restorer reads, and at which size its pictures are trained."""
    block = options.train_set or next(iter(options.val_sets.values()), None)
    wanted = block.out_size if block is not None else None
    if isinstance(options.network_g, MobileRestorerOptions):
        size = options.network_g.crop_size
    elif isinstance(options.network_g, MobileStyleGANOptions):
        size = options.network_g.trained_size
    elif isinstance(options.network_g, (GFPGANOptions, StyleGAN2Options)):
        size = options.network_g.out_size
    elif wanted is None:
        raise OptionError("datasets.train.out_size: missing; a plugin's network does not say it")
    else:
        size = wanted
    return Sizes(size, wanted or size)


DEFAULT = "restore_default"


def mixture_of(options: DegradationOptions | None) -> Mixture:
    """A name, names with weights, or keys; None is what the default model is trained with."""
    if options is None:
        return find_recipe(DEFAULT)
    mixture = _named(options)
    if options.recipe is None or options.reference_size is None:
        return mixture
    recipes = [replace(r, reference_size=options.reference_size) for r in mixture.recipes]
    return Mixture(tuple(recipes), mixture.probs)


def _named(options: DegradationOptions) -> Mixture:
    if options.recipe is None:
        return find_recipe(options.as_recipe())
    if isinstance(options.recipe, str):
        return find_recipe(options.recipe)
    recipes: list[Recipe] = []
    probs: list[float] = []
    for name, weight in options.recipe.items():
        mixture = find_recipe(name)
        total = sum(mixture.probs)
        recipes += mixture.recipes
        probs += [weight * p / total for p in mixture.probs]
    return Mixture(tuple(recipes), tuple(probs))


def build_optimiser(
    networks: Iterable[nn.Module],
    options: OptimizerOptions,
    lr_mlp: float = 0.01,
    lazy_every: int | None = None,
) -> torch.optim.Optimizer:
    """Adam or AdamW over what is trained of `networks`; groups keep their base rate as `base_lr`.

    `lazy_every` k: rate and betas are adjusted for a regulariser that acts every k steps, by
    c = k / (k + 1): c lr, beta^c (StyleGAN2, appendix B).
    """
    c = 1.0 if lazy_every is None else lazy_every / (lazy_every + 1)
    groups: dict[float, list[nn.Parameter]] = {}
    for network in networks:
        factors = rate_factors(network, lr_mlp)
        for parameter in network.parameters():
            if parameter.requires_grad:
                factor = round(factors.get(id(parameter), 1.0), 12)
                groups.setdefault(factor, []).append(parameter)
    if not groups:
        raise OptionError("nothing to train: every weight of the network is frozen")
    rows = [
        {"params": parameters, "lr": c * options.lr * factor, "base_lr": c * options.lr * factor}
        for factor, parameters in groups.items()
    ]
    # Fused: one pass over memory instead of a dozen, which a step of a small batch feels on a CPU.
    kind = torch.optim.AdamW if options.type == "AdamW" else torch.optim.Adam
    return kind(
        rows,
        lr=options.lr,
        betas=(options.betas[0] ** c, options.betas[1] ** c),
        eps=options.eps,
        weight_decay=options.weight_decay,
        fused=all(p.dtype == torch.float32 for group in groups.values() for p in group) or None,
    )


def rate_factors(network: nn.Module, lr_mlp: float) -> dict[int, float]:
    """id(parameter) -> factor of its rate, for StyleGAN2 generators inside `network`.

    Ours keep plain weights, w = gain w' of the equalised w' that the paper trains; Adam moves w'
    by about the rate, so w moves by gain times that: 1 / sqrt(fan-in), and lr_mlp in the mapping.
    """
    factors: dict[int, float] = {}
    for module in network.modules():
        if not isinstance(module, StyleGAN2Generator):
            continue
        for name, parameter in module.named_parameters():
            factor = 1.0
            if parameter.ndim > 1 and name != "constant":
                factor = 1 / math.sqrt(parameter[0].numel())
            if name.startswith("map_latents."):
                factor *= lr_mlp * (math.sqrt(2) if parameter.ndim > 1 else 1.0)
            factors[id(parameter)] = factor
    return factors


PLUGIN_NAMES = {"basicsr": "restore.compat.basicsr"}
"""Short names of plugin modules in `type: NAME:NETWORK`."""

_log = logging.getLogger(__name__)


def build_generator(options: GeneratorOptions, plugins: tuple[str, ...] = ()) -> nn.Module:
    """The network of `network_g`, with its prior filled and what is frozen frozen."""
    named = architecture_of(options)
    if named is None:
        assert isinstance(options, PluginNetworkOptions)
        return build_plugin_network(options, plugins)
    network = build_network(*named)
    if isinstance(options, (GFPGANOptions, MobileRestorerOptions)):
        assert isinstance(network, PriorRestorer)
        if options.decoder_load_path:
            fill_decoder(network.decoder, options.decoder_load_path)
        network.decoder.requires_grad_(not options.fix_decoder)
    if isinstance(options, MobileRestorerOptions) and options.train_head:
        assert isinstance(network, PriorRestorer)
        network.decoder.heads.requires_grad_(True)
    if isinstance(options, MobileStyleGANOptions) and options.load_path:
        fill_decoder(network, options.load_path)
    return network


def fill_decoder(decoder: nn.Module, path: str) -> None:
    """Fill a generator from a prior: a model file or name, a checkpoint, or the prior's wheel.

    Only heads for other sizes may be missing. Raises `CheckpointError` when it does not fit.
    """
    own = decoder.state_dict()
    tensors = _prior_tensors(decoder, path)
    missing = [k for k in own if k not in tensors and not k.startswith(_OPTIONAL)]
    wrong = [k for k, v in tensors.items() if k in own and own[k].shape != v.shape]
    if missing or wrong:
        raise CheckpointError(
            f"{path} does not fill the decoder that network_g describes: missing "
            f"{', '.join(missing[:4]) or 'none'}; of another shape: "
            f"{', '.join(wrong[:4]) or 'none'}"
        )
    decoder.load_state_dict({k: v for k, v in tensors.items() if k in own}, strict=False)
    if "w_mean" in own and "w_mean" not in tensors:
        decoder.w_mean.copy_(w_statistics(decoder, 16384)[0])  # type: ignore[operator, arg-type]
    lacking = [k for k in own if k not in tensors and k != "w_mean"]
    if lacking:
        _log.warning("%s has no %s; they start at random", path, ", ".join(lacking[:4]))


_OPTIONAL = ("heads.", "w_mean")


def _prior_tensors(decoder: nn.Module, path: str) -> dict[str, Tensor]:
    if Path(path).suffix == ".whl":
        from restore.checkpoints.public_wheels import import_prior

        return {name: torch.from_numpy(array) for name, array in import_prior(path).items()}
    if Path(path).is_file():
        state = read_state_dict(path).tensors
        inner = {k.removeprefix("decoder."): v for k, v in state.items() if k[:8] == "decoder."}
        for found in (state, inner):
            if set(found) & set(decoder.state_dict()):
                return found
    network = load_network(path)
    return (network.decoder if isinstance(network, PriorRestorer) else network).state_dict()


def build_plugin_network(options: PluginNetworkOptions, plugins: tuple[str, ...]) -> nn.Module:
    """A network of a plugin module: `MODULE:NAME`, or a NAME of one of the listed modules.

    Such a module has `RESTORE_NETWORKS`, a mapping of names to builders that take the arguments
    of the block as keywords.
    """
    prefix, colon, name = options.type.rpartition(":")
    modules = [PLUGIN_NAMES.get(prefix, prefix)] if colon else list(plugins)
    known: list[str] = []
    for module_name in modules:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name:
                raise
            raise OptionError(
                f"network type {options.type!r}: there is no module {module_name!r}; install the "
                "package, or put its folder on PYTHONPATH"
            ) from error
        table: Mapping[str, Any] = getattr(module, "RESTORE_NETWORKS", {})
        if name in table:
            try:
                network: nn.Module = table[name](**options.arguments)
                return network
            except TypeError as error:
                raise OptionError(f"network type {options.type!r}: {error}") from error
        known += list(table)
    raise OptionError(
        f"network type {options.type!r} is in none of {', '.join(modules) or 'no plugins'}; "
        f"known there: {', '.join(sorted(known)) or 'nothing'}"
    )


def build_face_discriminator(
    options: DiscriminatorOptions, plugins: tuple[str, ...], device: torch.device
) -> FaceDiscriminator:
    """The discriminator of the whole face, and the frozen features it reads."""
    if isinstance(options, PatchDiscriminatorOptions):
        features = None
        channels: tuple[int, ...] = ()
        if options.feature_network is not None:
            features = load_feature_network(options.feature_network).to(device)
            channels = tuple(features.channels)  # type: ignore[arg-type]
        patch = PatchDiscriminator(
            width=options.width,
            fold=options.fold,
            feature_channels=channels,
            spectral=options.spectral,
        )
        return FaceDiscriminator(patch.to(device), features)
    if isinstance(options, PluginNetworkOptions):
        return FaceDiscriminator(build_plugin_network(options, plugins).to(device))
    network = build_discriminator(
        options.out_size,
        options.channel_multiplier,
        options.narrow,
        taps=options.resample_kernel,
        stddev_group=options.stddev_group,
    )
    return FaceDiscriminator(network.to(device))


def build_part_discriminator(options: PartDiscriminatorOptions) -> nn.Module:
    """GFPGAN's discriminator of one part."""
    return PartDiscriminator(options.width)


def fill_network(network: nn.Module, path: str, key: str | None, strict: bool, name: str) -> None:
    """Fill a network from a weights file.

    Reads our own files, BasicSR's and GFPGAN's layouts, and a state dict of what was trained
    alone: the encoder, with or without `heads` of the decoder. What is frozen may be missing.
    Without `strict` tensors of other shapes are left as they are, and said so in the log. Raises
    `CheckpointError` when strict and something does not fit, or when nothing fits.
    """
    own = network.state_dict()
    tensors = _tensors_for(network, path, key)
    fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    missing = sorted(set(own) - set(fitting) - _frozen_parts(network))
    left = sorted(set(tensors) - set(fitting))
    if not fitting or (strict and (missing or left)):
        raise CheckpointError(
            f"{path} does not fit {name}: {len(fitting)} of {len(own)} tensors do; lacking or of "
            f"another shape: {', '.join(missing[:4]) or 'none'}; not in the network: "
            f"{', '.join(left[:4]) or 'none'}. path.strict_load_{name[-1]}: false takes what fits"
        )
    network.load_state_dict(fitting, strict=False)
    _log.info(
        "%s: %d of %d tensors from %s; left as they were: %s",
        name, len(fitting), len(own), path, ", ".join(missing[:12]) or "none",
    )  # fmt: skip


def _tensors_for(network: nn.Module, path: str, key: str | None) -> dict[str, Tensor]:
    """The tensors of a file under our names, from whatever layout."""
    names = set(network.state_dict())
    state = _read(path, key)
    placed = {_place_of(name, names): tensor for name, tensor in state.items()}
    if set(placed) & names:
        return placed
    try:  # a foreign layout: let the detection fold it
        return load_network(path, key=key).state_dict()
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} holds neither this network's tensors nor a known layout: {error}"
        ) from error


def _place_of(name: str, names: set[str]) -> str:
    """The network's name of a tensor that a file of one part has under a shorter one."""
    for full in (name, f"encoder.{name}", f"decoder.{name}"):
        if full in names:
            return full
    return name


def _frozen_parts(network: nn.Module) -> set[str]:
    """Names of a frozen decoder's parameters, and of its buffers."""
    if not isinstance(network, PriorRestorer):
        return set()
    frozen = {f"decoder.{k}" for k, p in network.decoder.named_parameters() if not p.requires_grad}
    if frozen:
        frozen |= {f"decoder.{k}" for k, _ in network.decoder.named_buffers()}
    return frozen


def _read(path: str, key: str | None) -> dict[str, Tensor]:
    """With the wished key where the file has it, else what the file has."""
    try:
        return read_state_dict(path, key).tensors
    except CheckpointError:
        if key is None:
            raise
        return read_state_dict(path).tensors


def fill_discriminator(options: Options, discriminator: FaceDiscriminator | None) -> None:
    """Fill the discriminator from path.pretrain_network_d, where there are both."""
    path = options.path.pretrain_network_d
    if discriminator is not None and path is not None:
        strict = options.path.strict_load_d is not False
        fill_network(discriminator.network, path, options.path.param_key_d, strict, "network_d")


def loss_weights(train: TrainOptions) -> LossWeights:
    """The weights; GFPGAN's L1_opt is a factor of pyramid, identity and component style."""
    pixel, l1 = train.pixel_opt, train.l1_opt.loss_weight if train.l1_opt else 1.0
    look = train.perceptual_opt
    is_lpips = look is not None and look.type == "LPIPSLoss"
    charbonnier = pixel is not None and pixel.type == "CharbonnierLoss"
    for name in ("gan_opt", "gan_component_opt"):
        block = getattr(train, name)
        if block is not None and block.feature_matching_weight:
            raise OptionError(
                f"train.{name}.feature_matching_weight: found {block.feature_matching_weight}; "
                "these discriminators give no features to match, expected 0 "
                "(train.comp_style_weight matches those of the parts)"
            )
    return LossWeights(
        pixel=pixel.loss_weight if pixel else 0.0,
        charbonnier_epsilon=pixel.eps if pixel is not None and charbonnier else None,
        pyramid=l1 * train.pyramid_loss_weight,
        pyramid_until=train.remove_pyramid_loss,
        lpips=look.perceptual_weight if look is not None and is_lpips else 0.0,
        perceptual=look.perceptual_weight if look is not None and not is_lpips else 0.0,
        style=look.style_weight if look is not None else 0.0,
        identity=l1 * train.identity_weight,
        degradation=train.degradation_weight,
        degradation_shares=train.degradation_weights,
        codes=train.code_weight,
        code_distance=train.code_distance_weight,
        gan=train.gan_opt.loss_weight if train.gan_opt else 0.0,
        parts_gan=train.gan_component_opt.loss_weight if train.gan_component_opt else 0.0,
        parts_style=l1 * train.comp_style_weight,
        pixel_tilt=train.fidelity.pixel_tilt,
        perceptual_tilt=train.fidelity.perceptual_tilt,
        identity_tilt=train.fidelity.identity_tilt,
        gan_tilt=train.fidelity.gan_tilt,
    )


def build_losses(
    options: Options,
    device: torch.device,
    parts: Mapping[str, nn.Module],
    w_mean: Tensor | None,
    w_variance: float,
) -> RestorerLosses:
    """The losses of a restorer's training, their networks on the device and frozen."""
    train = options.train
    assert train is not None
    weights = loss_weights(train)
    look = train.perceptual_opt
    lpips = perceptual = None
    if look is not None and (look.perceptual_weight or look.style_weight):
        network = load_feature_network(_path_of(look)).to(device)
        if look.type == "LPIPSLoss":
            lpips = build_lpips(network, look.heads_path).to(device)
            if look.style_weight:
                layers = (1.0,) * len(network.channels)  # type: ignore[arg-type]
                perceptual = VggPerceptualLoss(network, layers)
        else:
            layers = tuple(look.layer_weights.values())
            perceptual = VggPerceptualLoss(network, layers, style=look.style_weight > 0)
    identity = None
    if weights.identity:
        assert options.identity_path is not None
        identity = load_identity_network(options.identity_path).to(device)
    if train.channels_last:
        for module in (lpips, perceptual, identity):
            if module is not None:
                module.to(memory_format=torch.channels_last)
    return RestorerLosses(
        weights=weights,
        lpips=lpips,
        perceptual=perceptual,
        identity=identity,
        w_mean=w_mean,
        w_variance=w_variance,
        above_level=train.fidelity.above_level,
        window=look.window_size if look is not None else None,
        parts=parts,
    )


def build_lpips(network: nn.Module, heads_path: str | None) -> LpipsLoss:
    """LPIPS on a feature network: lpips' own heads where they belong to it, else plain features."""
    if heads_path is not None:
        return LpipsLoss(network, load_lpips_heads(path=heads_path))
    if network.kind == "squeezenet1_1":
        return LpipsLoss(network, load_lpips_heads("squeeze"))
    return LpipsLoss(network, None)


def _path_of(look: PerceptualOptions) -> str:
    if look.network_path is None:
        raise OptionError(
            "train.perceptual_opt.network_path: missing; give the weights file of VGG19 or "
            "SqueezeNet 1.1 in torchvision's layout (nothing is downloaded in silence)"
        )
    return look.network_path
