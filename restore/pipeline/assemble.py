"""Wiring: names and files of model, detector and upsampler -> a Restorer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from restore.pipeline.restorer import Restorer

if TYPE_CHECKING:
    from restore.trust.identity import IdentityEmbedder

__all__ = ["Restorer", "find_identity", "find_model_file", "load_restorer"]


def find_model_file(model: str | Path, offline: bool = True) -> Path:
    """The file of a model: a path as it is, a name through the table of models.

    With `offline` nothing is fetched. Raises CheckpointError with what to do.
    """
    from restore.checkpoints.download import download_model, locate_model

    path = Path(model)
    if path.is_file():
        return path
    if offline:
        return locate_model(str(model))
    return download_model(str(model), offline=False)


def load_restorer(
    model: str | Path = "default",
    device: str | None = None,
    backend: str = "auto",
    detector: str = "default",
    offline: bool = True,
    threads: int | None = None,
    bg_upsampler: str | Path | None = None,
    bg_tile: int = 400,
    identity_network: str | Path | None = None,
    precision: str = "auto",
) -> Restorer:
    """See `Restorer.load`."""
    from restore.faces.detect import load_detector
    from restore.pipeline.background import load_upsampler
    from restore.runtime.select import load_runtime

    path = find_model_file(model, offline)
    upsampler = None
    if bg_upsampler is not None:
        upsampler = load_upsampler(bg_upsampler, bg_tile, device)
    # Both spend their time in native code: on two cores the first photo starts earlier.
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(load_runtime, path, backend, device, threads, precision)
        found = load_detector(detector)
        runtime = loading.result()
    embedder, absent = find_identity(identity_network)
    return Restorer(runtime, found, upsampler, identity=embedder, identity_absent=absent)


def find_identity(
    network: str | Path | None = None,
) -> tuple[IdentityEmbedder | None, str | None]:
    """The packaged identity network or one by its file, and why there is none.

    A packaged one that is not there or broken is only told; for a file that was asked for
    CheckpointError or MissingExtraError is raised. Its weights are read when first used.
    """
    from restore.errors import CheckpointError

    if network is not None:
        from restore.runtime.identity import load_identity

        return load_identity(network), None
    try:
        from restore.trust.identity import IdentityNetwork

        return IdentityNetwork.load(), None
    except CheckpointError as error:
        return None, str(error)
