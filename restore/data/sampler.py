"""The order in which crops are drawn: balanced, mirrored at random, told by seed and place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from restore.data.face_dataset import Draw
from restore.errors import InputError


class SampleOrder:
    """An endless sequence of draws; draw p of it depends on (seed, p) alone.

    It is made of epochs of `num_draws` draws. In each, every crop is drawn its share of times,
    rounded up or down at random (systematic resampling, so that sources get their share exactly to
    one draw), in shuffled order. With equal weights and num_draws = n each crop comes once.
    """

    def __init__(
        self,
        weights: Sequence[float] | np.ndarray,
        seed: int = 0,
        enlarge_ratio: float = 1.0,
        flip: bool = False,
        shuffle: bool = True,
    ) -> None:
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not len(self.weights):
            raise InputError(f"weights of shape {self.weights.shape}; expected one for each crop")
        if not np.isfinite(self.weights).all() or self.weights.min() < 0 or not self.weights.sum():
            raise InputError("weights of crops must be numbers of at least 0, and not all 0")
        self.seed = seed
        self.flip = flip
        self.shuffle = shuffle
        self.num_draws = max(round(np.count_nonzero(self.weights) * enlarge_ratio), 1)

    def epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices [num_draws] int64 and mirrorings [num_draws] bool of one epoch."""
        rng = np.random.default_rng([self.seed, number])
        # crops in random order first: the rounding must not favour neighbours
        mixed = rng.permutation(len(self.weights)) if self.shuffle else np.arange(len(self.weights))
        edges = np.cumsum(self.weights[mixed])
        places = (np.arange(self.num_draws) + rng.random()) * (edges[-1] / self.num_draws)
        rows = np.minimum(np.searchsorted(edges, places, side="right"), self._last(mixed))
        indices = mixed[rows]
        if self.shuffle:
            indices = rng.permutation(indices)
        flips = rng.random(self.num_draws) < 0.5 if self.flip else np.zeros(self.num_draws, bool)
        return indices.astype(np.int64), flips

    def _last(self, mixed: np.ndarray) -> int:
        """Row of the last crop that may be drawn, for places that round up to the very end."""
        return int(np.flatnonzero(self.weights[mixed])[-1])

    def draws(self, start: int) -> Iterator[Draw]:
        """The sequence from place `start` on, without an end."""
        number, offset = divmod(start, self.num_draws)
        while True:
            indices, flips = self.epoch(number)
            for place in range(offset, self.num_draws):
                yield Draw(int(indices[place]), bool(flips[place]))
            number, offset = number + 1, 0

    def batches(
        self, start: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[list[Draw]]:
        """This rank's share of each global batch of batch_size * world_size draws, from `start`.

        Ranks take consecutive parts, so that two of them draw what one draws at twice the batch.
        """
        draws = self.draws(start)
        while True:
            together = [next(draws) for _ in range(batch_size * world_size)]
            yield together[rank * batch_size : (rank + 1) * batch_size]


def source_balance(sources: Sequence[str], weights: Mapping[str, float]) -> np.ndarray:
    """Weight of each crop [n] from that of its source, 1 for sources that are not named.

    Raises InputError for a named source that no crop has: a misspelt one would do nothing.
    """
    counts = Counter(sources)
    unknown = [name for name in weights if name not in counts]
    if unknown:
        raise InputError(
            f"source_weights names {', '.join(map(repr, unknown))}, which no crop has; "
            f"expected some of {', '.join(sorted(counts))}"
        )
    return np.array([float(weights.get(source, 1.0)) for source in sources])
