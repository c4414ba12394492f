"""Identity cosine per image: does an embedding network see the same person?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from restore.networks.identity import identity_cosine


def identity_measure(network: nn.Module) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """A function (restored, gt, mask) -> cosines `[n]` in [-1,1] of FFHQ-frame faces.

    The mask is not used: the network crops the inner face itself.
    """

    def per_image(restored: Tensor, gt: Tensor, mask: Tensor | None) -> Tensor:
        with torch.no_grad():
            return identity_cosine(network, restored, gt)

    return per_image
