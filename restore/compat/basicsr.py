"""The one bridge to basicsr: makes 1.4.2 import, and lends networks in both directions."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from restore.errors import MissingExtraError

_STUB = "torchvision.transforms.functional_tensor"


@contextlib.contextmanager
def _functional_tensor() -> Iterator[None]:
    """A stand-in for the module that torchvision dropped in 0.17, for as long as basicsr imports.

    basicsr 1.4.2 takes one function of it (BasicSR issue 649). No other package ever sees it.
    """
    if _STUB in sys.modules or importlib.util.find_spec(_STUB) is not None:
        yield
        return
    functional = importlib.import_module("torchvision.transforms.functional")
    stub = types.ModuleType(_STUB)
    stub.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_STUB] = stub
    try:
        yield
    finally:
        sys.modules.pop(_STUB, None)


def import_basicsr(name: str = "basicsr") -> types.ModuleType:
    """Import basicsr or a module of it; raises `MissingExtraError` when it is not installed."""
    if importlib.util.find_spec("basicsr") is None:
        raise MissingExtraError("basicsr", "train", "a network of BasicSR")
    with _functional_tensor():
        importlib.import_module("basicsr")
        return importlib.import_module(name)


class _ArchRegistry(Mapping[str, Any]):
    """BasicSR's ARCH_REGISTRY as a mapping of names to classes; looked up when asked."""

    def __getitem__(self, name: str) -> Any:
        registry = import_basicsr("basicsr.utils.registry").ARCH_REGISTRY
        # its own get() prints before it knows; the table says the same in silence
        for known in (name, f"{name}_basicsr"):
            if known in registry.keys():  # noqa: SIM118
                return registry.get(known)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        registry = import_basicsr("basicsr.utils.registry").ARCH_REGISTRY
        return iter(registry.keys())

    def __len__(self) -> int:
        return len(list(iter(self)))


RESTORE_NETWORKS: Mapping[str, Any] = _ArchRegistry()
"""What `type: basicsr:NAME` finds: every network that is registered with BasicSR."""


def register_networks() -> list[str]:
    """Register our networks with BasicSR's ARCH_REGISTRY; the names that were added.

    Names are prefixed `Restore`, so that BasicSR's and GFPGAN's own stay what they are.
    """
    registry = import_basicsr("basicsr.utils.registry").ARCH_REGISTRY
    added = []
    for name, (module, builder) in _OURS.items():
        if name in registry:
            continue
        registry.register(_named(name, module, builder))
        added.append(name)
    return added


_OURS = {
    "RestoreGFPGAN": ("restore.networks.gfpgan", "build_gfpgan"),
    "RestoreMobileRestorer": ("restore.networks.unet_encoder", "build_mobile_restorer"),
    "RestoreStyleGAN2": ("restore.networks.stylegan2", "build_stylegan2"),
    "RestoreStyleGAN2Discriminator": (
        "restore.networks.discriminators",
        "build_discriminator",
    ),
    "RestorePatchDiscriminator": (
        "restore.networks.discriminators",
        "PatchDiscriminator",
    ),
    "RestorePartDiscriminator": ("restore.networks.discriminators", "PartDiscriminator"),
}


def _named(name: str, module: str, builder: str) -> Any:
    """A builder under the name it is registered with; BasicSR calls it with the block's keys."""

    def build(**arguments: Any) -> Any:
        return getattr(importlib.import_module(module), builder)(**arguments)

    build.__name__ = name
    build.__doc__ = f"{builder} of {module}."
    return build
