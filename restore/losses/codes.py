"""Losses on W+ codes: regression on faces whose codes are known, and their distance to the mean."""

from __future__ import annotations

from torch import Tensor


def code_loss(
    w_plus: Tensor, target: Tensor, variance: Tensor | float = 1.0, known: Tensor | None = None
) -> Tensor:
    """Squared error of codes [n,k,d] to `target` [n,k,d] or [n,d], over `variance`: `[n]`.

    With the variance of w (a number or [d]) 1 is what the mean code scores, 0 is perfect.
    `known` [n] (0/1) says which samples are generated faces, the only ones with true codes.
    """
    if target.ndim == 2:
        target = target[:, None]
    loss = ((w_plus - target).square() / variance).mean((1, 2))
    return loss if known is None else loss * known.to(loss)


def distance_from_mean(w_plus: Tensor, w_mean: Tensor, variance: Tensor | float = 1.0) -> Tensor:
    """Root mean square distance `[n]` of codes [n,k,d] from `w_mean` [d], in deviations of w.

    About 1 for codes that use the prior as its own samples do, 0 for codes stuck at the mean.
    """
    return ((w_plus - w_mean).square() / variance).mean((1, 2)).sqrt()
