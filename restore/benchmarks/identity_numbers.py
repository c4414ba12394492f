"""Numbers of a verification: ten-fold accuracy, false accepts, equal error, rank correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Accuracy:
    """Mean and standard error over the folds, in [0,1], and the mean threshold."""

    mean: float
    error: float
    threshold: float


def fold_accuracy(cosines: Array, same: NDArray[np.bool_], fold: NDArray[np.int64]) -> Accuracy:
    """LFW's protocol: each fold is judged by the threshold that is best on the others."""
    found, thresholds = [], []
    for k in np.unique(fold):
        inside = fold == k
        threshold = best_threshold(cosines[~inside], same[~inside])
        found.append(float(((cosines[inside] >= threshold) == same[inside]).mean()))
        thresholds.append(threshold)
    return Accuracy(
        float(np.mean(found)),
        float(np.std(found) / np.sqrt(max(len(found) - 1, 1))),
        float(np.mean(thresholds)),
    )


def best_threshold(cosines: Array, same: NDArray[np.bool_]) -> float:
    """The cosine at which the most pairs are judged right, midway between two of them."""
    order = np.argsort(cosines)
    values, truth = cosines[order], same[order]
    # with the threshold below values[i]: wrong ones of two persons at and above, of one below
    right = np.concatenate([[0], np.cumsum(~truth)]) + truth.sum()
    right = right - np.concatenate([[0], np.cumsum(truth)])
    i = int(right.argmax())
    low = values[i - 1] if i > 0 else values[0] - 1e-6
    high = values[i] if i < len(values) else values[-1] + 1e-6
    return float((low + high) / 2)


def threshold_at(different: Array, rate: float) -> float:
    """The least cosine at which at most `rate` of the pairs of two persons pass (FAR)."""
    return float(np.quantile(different, 1 - rate))


def pass_rate(same: Array, threshold: float) -> float:
    """Share of the pairs of one person at or above a threshold."""
    return float((same >= threshold).mean())


def equal_error(same: Array, different: Array) -> tuple[float, float]:
    """(rate, threshold) where false accepts and false rejects are equally many."""
    grid = np.linspace(-1, 1, 2001)
    rejects = np.searchsorted(np.sort(same), grid) / len(same)
    accepts = 1 - np.searchsorted(np.sort(different), grid) / len(different)
    i = int(np.abs(rejects - accepts).argmin())
    return float((rejects[i] + accepts[i]) / 2), float(grid[i])


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rho of two lists without many ties."""
    first, second = (np.argsort(np.argsort(values)) - (len(values) - 1) / 2 for values in (a, b))
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def cross_cosines(
    a: Array, b: Array, person_a: NDArray[np.int64], person_b: NDArray[np.int64]
) -> Array:
    """Cosines of every row of a with every row of b of another person; rows of length 1."""
    return (a @ b.T)[person_a[:, None] != person_b[None]]
