"""Blind face restoration on a StyleGAN2-family prior; public names load on first use (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from restore.checkpoints.load import load_network
    from restore.degradation.degrade import degrade
    from restore.pipeline.options import FaceChoice, ModelOptions, RestoreOptions, TrustOptions
    from restore.pipeline.restorer import Restorer
    from restore.pipeline.results import RestoredFace, RestoredPhoto

_HOMES = {
    "Restorer": "restore.pipeline.restorer",
    "RestoredPhoto": "restore.pipeline.results",
    "RestoredFace": "restore.pipeline.results",
    "FaceChoice": "restore.pipeline.options",
    "ModelOptions": "restore.pipeline.options",
    "RestoreOptions": "restore.pipeline.options",
    "TrustOptions": "restore.pipeline.options",
    "load_network": "restore.checkpoints.load",
    "degrade": "restore.degradation.degrade",
}

__all__ = [
    "FaceChoice",
    "ModelOptions",
    "RestoreOptions",
    "RestoredFace",
    "RestoredPhoto",
    "Restorer",
    "TrustOptions",
    "__version__",
    "degrade",
    "load_network",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            return getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            from restore.errors import MissingExtraError

            if error.name != "torch":
                raise
            raise MissingExtraError("torch", "torch", f"restore.{name}") from error
    raise AttributeError(f"module 'restore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
