"""Random numbers of a training sample as a function of (seed, purpose, sample number) alone.

The n-th sample of a run is drawn the same whatever the batch size, the number of ranks and the
number of times the run was resumed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class SampleDraws:
    """The random streams of a run."""

    seed: int

    def numpy(self, purpose: str, number: int) -> np.random.Generator:
        """The stream of one sample for one purpose."""
        return np.random.Generator(np.random.Philox([self.seed, _key(purpose), number]))

    def integer(self, purpose: str, number: int) -> int:
        """A seed for a function that makes its own stream, below 2**62."""
        return int(self.numpy(purpose, number).integers(2**62))

    def integers(self, purpose: str, numbers: Sequence[int]) -> list[int]:
        """One seed for each sample."""
        return [self.integer(purpose, n) for n in numbers]

    def uniform(self, purpose: str, numbers: Sequence[int]) -> np.ndarray:
        """One float64 in [0,1) for each sample: `[n]`."""
        return np.array([self.numpy(purpose, n).random() for n in numbers])

    def generator(self, purpose: str, number: int, device: str = "cpu") -> torch.Generator:
        """A torch generator with a seed of its own."""
        return torch.Generator(device).manual_seed(self.integer(purpose, number))

    def normal(self, purpose: str, numbers: Sequence[int], width: int) -> torch.Tensor:
        """Unit normal float32 `[n,width]`, row by row the sample's own."""
        rows = [self.numpy(purpose, n).standard_normal(width, np.float32) for n in numbers]
        return torch.from_numpy(np.stack(rows))


def _key(purpose: str) -> int:
    return zlib.crc32(purpose.encode())
