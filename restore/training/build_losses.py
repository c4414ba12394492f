"""The losses of an option file: weights, and the frozen networks that are read from files."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from restore.errors import OptionError
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_lpips_heads,
)
from restore.losses.perceptual import LpipsLoss, VggPerceptualLoss
from restore.options.schema import Options
from restore.options.training import PerceptualOptions, TrainOptions
from restore.training.restorer_losses import LossWeights, RestorerLosses


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
