"""Identity loss: one minus the cosine of face embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from restore.networks.identity import align_to_network, embed, identity_cosine

__all__ = ["align_to_network", "embed", "identity_cosine", "identity_loss"]


def identity_loss(
    network: nn.Module, restored: Tensor, gt: Tensor, frame_to_crop: Tensor | None = None
) -> Tensor:
    """1 - cosine `[n]`, 0 for the same identity; arguments as `identity_cosine`."""
    return 1 - identity_cosine(network, restored, gt, frame_to_crop)
