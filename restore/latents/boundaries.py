"""Directions from labels: slopes of measures over w, boundaries between two sets of codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from restore.errors import InputError


@dataclass(frozen=True)
class Slopes:
    """Linear fits of measures over w: `weights` [m,w_dim] in measure per w; `r2` [m], held out."""

    weights: Tensor
    r2: Tensor


def fit_slopes(w: Tensor, measures: Tensor, ridge: float = 0.1, held_out: float = 0.2) -> Slopes:
    """Ridge regression of measures [n,m] (NaN is left out) over codes w [n,w_dim].

    `ridge`: as a share of the mean variance of w; 0.1 was best of 0.003 to 0.3 for most measures of
    2,000 faces. The last `held_out` of the samples give R²; the
    weights come from all.
    """
    if len(w) != len(measures) or len(w) < 10:
        raise InputError(f"{len(w)} codes for {len(measures)} measures; expected 10 or more pairs")
    cut = len(w) - max(2, round(held_out * len(w)))
    weights, scores = [], []
    for column in measures.T:
        known = torch.isfinite(column)
        first = known & (torch.arange(len(w)) < cut)
        slope, level = _ridge(w[first], column[first], ridge)
        rest = known & ~first
        error = (w[rest].double() @ slope + level - column[rest].double()).square().mean()
        scores.append(1 - error / column[rest].double().var(correction=0).clamp_min(1e-12))
        weights.append(_ridge(w[known], column[known], ridge)[0])
    return Slopes(torch.stack(weights).float(), torch.stack(scores).float())


def _ridge(w: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    if len(w) < 2:
        raise InputError("a measure is missing for nearly all samples; draw more")
    x = w.double()
    mean, level = x.mean(0), y.double().mean()
    x = x - mean
    gram = x.T @ x / len(x)
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    slope = torch.linalg.solve(gram, x.T @ (y.double() - level) / len(x))
    return slope, level - mean @ slope


def shortest_change(covariance: Tensor, slopes: Tensor, target: int) -> Tensor:
    """The likeliest change of w [w_dim] that moves measure `target` by 1 and no other of `slopes`.

    Of all d with slopes @ d = e_target the one that is shortest in the metric of the codes'
    covariance C (so it stays where codes lie): d = C B (B^T C B)^-1 e, B = slopes^T. With one
    slope alone it is the covariance of w with the measure; holding others is InterFaceGAN's
    conditional manipulation. slopes [m,w_dim], covariance [w_dim,w_dim].
    """
    if not 0 <= target < len(slopes):
        raise InputError(f"target {target} of {len(slopes)} measures")
    spread = covariance.double() @ slopes.double().T  # [w_dim,m]
    gram = slopes.double() @ spread
    wanted = torch.zeros(len(slopes), dtype=gram.dtype)
    wanted[target] = 1
    try:
        return (spread @ torch.linalg.solve(gram, wanted)).float()
    except RuntimeError as error:
        raise InputError(
            "two of the measures say the same on these samples; hold fewer of them"
        ) from error


@dataclass(frozen=True)
class Boundary:
    """A plane between two sets of codes: unit `normal` [w_dim] towards the second set.

    `accuracy`: share told rightly among codes that were held out. `distance`: how far the means
    of the two sets lie apart along the normal, the unit of an edit.
    """

    normal: Tensor
    accuracy: float
    distance: float


def fit_boundary(
    first: Tensor, second: Tensor, penalty: float = 1.0, folds: int = 5, seed: int = 0
) -> Boundary:
    """Linear boundary between codes [n,w_dim] without and with a trait (InterFaceGAN).

    Logistic regression with an L2 penalty on standardised codes, both sets weighing the same;
    `accuracy` is balanced and cross-validated over `folds`.
    """
    if min(len(first), len(second)) < 2:
        raise InputError(
            f"a boundary needs two codes or more on each side, got {len(first)} and {len(second)}"
        )
    x = torch.cat([first, second]).double()
    y = torch.cat([torch.zeros(len(first)), torch.ones(len(second))]).double()
    mean, scale = x.mean(0), x.std().clamp_min(1e-12)
    x = (x - mean) / scale
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    folds = min(folds, len(first), len(second))
    right = torch.zeros(len(x))
    fold = torch.empty(len(x), dtype=torch.long)
    for label in (0, 1):  # every fold has both sides
        members = order[y[order] == label]
        fold[members] = torch.arange(len(members)) % folds
    for k in range(folds):
        slope, level = _logistic(x[fold != k], y[fold != k], penalty)
        told = (x[fold == k] @ slope + level > 0).double()
        right[fold == k] = (told == y[fold == k]).float()
    slope, _ = _logistic(x, y, penalty)
    normal = (slope / slope.norm().clamp_min(1e-12)).float()
    balanced = (right[y == 0].mean() + right[y == 1].mean()) / 2
    apart = float((second.float().mean(0) - first.float().mean(0)) @ normal)
    return Boundary(normal, float(balanced), apart)


def _logistic(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Newton's method (IRLS) on the penalised likelihood; few steps reach rounding."""
    share = torch.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    wide = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    hold = penalty * torch.eye(wide.shape[1], dtype=x.dtype)
    hold[-1, -1] = 1e-6
    weight = torch.zeros(wide.shape[1], dtype=x.dtype)
    for _ in range(30):
        p = torch.sigmoid(wide @ weight)
        slope = wide.T @ (share * (p - y)) + hold @ weight
        curve = wide.T @ (wide * (share * p * (1 - p))[:, None]) + hold
        step = torch.linalg.solve(curve, slope)
        weight = weight - step
        if float(step.abs().max()) < 1e-9:
            break
    return weight[:-1], weight[-1]
