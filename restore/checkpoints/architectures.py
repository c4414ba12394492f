"""The visible table of architectures a model file may name, and how each is built."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from restore.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

# name -> (module, builder taking the arguments as keywords, arguments that the name fixes)
ARCHITECTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "stylegan2": ("restore.networks.stylegan2", "build_stylegan2", {}),
    "stylegan2_discriminator": (
        "restore.networks.discriminators",
        "build_discriminator",
        {},
    ),
    "gfpgan_clean": ("restore.networks.gfpgan", "build_gfpgan", {"resample": "bilinear"}),
    "gfpgan_v1": ("restore.networks.gfpgan", "build_gfpgan", {"resample": "fir"}),
    "mobile_stylegan": ("restore.networks.mobile_stylegan", "MobileStyleGAN", {}),
    "prior_heads": ("restore.networks.mobile_stylegan", "PriorHeads", {}),
    "mobile_restorer": ("restore.networks.unet_encoder", "build_mobile_restorer", {}),
    "identity_student": ("restore.networks.identity", "IdentityStudent", {}),
    "cover_network": ("restore.networks.occlusion", "CoverNetwork", {}),
}


def build_network(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network by its name in `ARCHITECTURES`; weights are random until they are loaded."""
    if architecture not in ARCHITECTURES:
        raise CheckpointError(
            f"Unknown architecture {architecture!r}; this version knows "
            f"{', '.join(sorted(ARCHITECTURES))}. A newer version may be needed"
        )
    module, builder, fixed = ARCHITECTURES[architecture]
    try:
        network: nn.Module = getattr(import_module(module), builder)(**{**arguments, **fixed})
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"The arguments {dict(arguments)} do not fit architecture {architecture!r}: {error}"
        ) from error
    return network
