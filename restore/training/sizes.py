"""The sizes of a training: what the network reads and what is painted and scored."""

from __future__ import annotations

from dataclasses import dataclass

from restore.errors import OptionError
from restore.options.networks import (
    GFPGANOptions,
    MobileRestorerOptions,
    MobileStyleGANOptions,
    StyleGAN2Options,
)
from restore.options.schema import Options


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
