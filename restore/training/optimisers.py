"""Optimisers of an option file, with the equalised rates that StyleGAN2 generators want."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from restore.errors import OptionError
from restore.networks.stylegan2 import StyleGAN2Generator
from restore.options.training import OptimizerOptions


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
