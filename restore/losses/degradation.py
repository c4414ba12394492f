"""Degradation loss: the head's estimate against what the degradation really did."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def degradation_loss(
    predicted: Tensor,
    target: Tensor,
    weights: Sequence[float] | Tensor | None = None,
    beta: float = 0.1,
) -> Tensor:
    """Smooth L1 `[n]` of the raw head output [n,6] against `truth.as_target()` [n,6].

    All six parameters are regressed, `gray` and `damage` too: then the raw output is in target
    units everywhere (export, runtimes, `target_to_units`) and needs no sigmoid that someone
    forgets. `weights` [6], one per parameter, are normalised to sum 1; `beta` is where the
    square turns into a line. A target that is not finite is unknown and counts 0.
    """
    if predicted.shape != target.shape:
        raise ValueError(
            f"degradation head gave {tuple(predicted.shape)}, the truth is {tuple(target.shape)}"
        )
    share = torch.ones(target.shape[1]) if weights is None else torch.as_tensor(weights)
    share = share.to(target) / share.sum()
    known = torch.isfinite(target)
    wanted = torch.where(known, target, predicted.detach().to(target))
    loss = F.smooth_l1_loss(predicted.to(target), wanted, reduction="none", beta=beta)
    return (loss * share).sum(1)
