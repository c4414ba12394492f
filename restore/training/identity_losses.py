"""What a student of identity is pulled towards: the teacher's vector, its neighbours, its map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.training.identity_options import LossOptions


def identity_losses(
    vectors: Tensor,
    maps: Tensor,
    targets: Tensor,
    target_maps: Tensor,
    bank: Tensor,
    options: LossOptions,
    map_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum and its parts.

    vectors, targets [n,d] of length 1: of the student (on a worn face) and the teacher (on the
    clean one); maps, target_maps [n,c,h,w]: the last maps; bank [m,d]: the teacher's vectors of
    all faces. Parts: `cosine`, the mean of 1 - cosine; `bank`, the divergence of the softmax of
    temperature-scaled cosines to the whole bank, which ranks the wrong persons too (relational
    distillation, Park et al. 2019, in the form of Fang et al. 2021, SEED); `map`, the mean squared
    error of the maps over the teacher's mean square, weighted by `map_weight`.
    """
    vectors = vectors.float()
    parts = {"cosine": (1 - (vectors * targets).sum(1)).mean()}
    with torch.no_grad():
        wanted = F.softmax(options.temperature * targets @ bank.T, dim=1)
    found = F.log_softmax(options.temperature * vectors @ bank.T, dim=1)
    parts["bank"] = F.kl_div(found, wanted, reduction="batchmean")
    total = options.cosine * parts["cosine"] + options.bank * parts["bank"]
    if map_weight > 0:
        parts["map"] = F.mse_loss(maps.float(), target_maps) / target_maps.square().mean()
        total = total + map_weight * parts["map"]
    return total, parts
