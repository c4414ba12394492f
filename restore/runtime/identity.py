"""`load_identity`: the packaged identity network, or any other one by its file, through torch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError, MissingExtraError
from restore.model_files import FORMAT, read_header
from restore.trust.identity import (
    ARCHITECTURE,
    BATCH,
    IdentityEmbedder,
    IdentityNetwork,
    to_planes,
    unit_length,
)


def load_identity(
    path: str | os.PathLike[str] | None = None, device: str = "cpu", threads: int = 1
) -> IdentityEmbedder:
    """The packaged network (None), a file of its kind, or another network by its file.

    Others: MobileFaceNet, GFPGAN's gray ArcFace ResNet18 and IR-SE ArcFace, as .safetensors or
    .pth; these need torch and run on `device`. Raises `CheckpointError` or `MissingExtraError`.
    """
    if path is None or _is_ours(Path(path)):
        return IdentityNetwork.load(path, threads)
    return TorchIdentity(Path(path), device)


class TorchIdentity:
    """`IdentityEmbedder` over a network of `losses.feature_files`; safe to share by threads."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("torch", "torch", f"Reading {path.name}") from error
        from restore.losses.feature_files import load_identity_network

        network = load_identity_network(path).to(device)
        self._network = network.to(memory_format=torch.channels_last)
        self._device = torch.device(device)
        self.name = path.stem

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [n,s,s,3] in the plain FFHQ frame, any s -> float32 [n,d] of length 1."""
        import torch

        from restore.networks.identity import embed

        crops = np.asarray(crops)
        if crops.ndim != 4 or crops.shape[1] != crops.shape[2] or crops.shape[3] != 3:
            raise InputError(
                f"faces have shape {list(crops.shape)}; identity needs crops [n,s,s,3]"
            )
        if crops.dtype != np.uint8:
            raise InputError(f"faces are {crops.dtype}; identity needs uint8 RGB crops")
        found = []
        with torch.inference_mode():
            for start in range(0, len(crops), BATCH):
                planes = torch.from_numpy(to_planes(crops[start : start + BATCH]))
                found.append(embed(self._network, planes.to(self._device)).cpu().numpy())
        if not found:
            return self.embed(np.zeros((1, 128, 128, 3), np.uint8))[:0]
        return unit_length(np.concatenate(found))


def _is_ours(path: Path) -> bool:
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    header = read_header(path)
    return header.get("format") == FORMAT and header.get("architecture") == ARCHITECTURE
