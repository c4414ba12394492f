"""Draws: all randomness of a batch, counted per sample, so that no batch split changes it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from restore.errors import InputError


@dataclass(frozen=True)
class Draws:
    """Named random numbers of n samples; `seeds` uint64 `[n]`.

    A number depends on the sample's seed and the draw's name only: not on the batch it sits in, nor
    on which other numbers were drawn before. Numbers are hashed (SplitMix64, Steele et al. 2014),
    fields come from a torch generator seeded by the same hash.
    """

    seeds: np.ndarray

    def __len__(self) -> int:
        return len(self.seeds)

    def take(self, index: np.ndarray) -> Draws:
        """The draws of some of the samples."""
        return Draws(self.seeds[index])

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Float64 `[n]`, uniform in [low, high)."""
        return low + (high - low) * _to_unit(self._hash(name))

    def uniforms(self, name: str, count: int) -> np.ndarray:
        """Float64 `[n, count]`, uniform in [0, 1)."""
        if count == 0:
            return np.zeros((len(self), 0))
        steps = np.arange(1, count + 1, dtype=np.uint64)[None]
        return _to_unit(_mix(self._hash(name)[:, None] + steps * _GOLDEN))

    def happens(self, name: str, prob: float) -> np.ndarray:
        """Bool `[n]`, true with probability prob."""
        return self.uniform(name) < prob

    def choice(self, name: str, probs: Sequence[float]) -> np.ndarray:
        """Int64 `[n]`, an index into probs (weights of any sum)."""
        edges = np.cumsum(np.asarray(probs, dtype=np.float64))
        return np.minimum(
            np.searchsorted(edges / edges[-1], self.uniform(name), side="right"), len(probs) - 1
        )

    def field_seed(self, name: str) -> np.ndarray:
        """Non-negative int64 `[n]`: what a generator of a field is seeded with."""
        return (self._hash(name) >> np.uint64(1)).astype(np.int64)

    def _hash(self, name: str) -> np.ndarray:
        salt = np.array([zlib.crc32(name.encode())], dtype=np.uint64) * _GOLDEN
        return _mix(self.seeds + salt)


def draws_from(
    n: int,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    seeds: Tensor | Sequence[int] | None,
) -> Draws:
    """The draws of a batch of n samples, from one generator, n generators, or n int64 seeds.

    One generator is asked for one number a sample, in order, so that two calls with a and b
    samples draw the same as one with a + b.
    """
    if (generator is None) == (seeds is None):
        raise InputError(
            f"found {'neither' if seeds is None else 'both'} of generator and seeds, expected one: "
            "pass a torch.Generator (or one a sample), or int64 seeds [n]"
        )
    if seeds is not None:
        values = torch.as_tensor(seeds)
        if values.shape != (n,) or values.is_floating_point():
            raise InputError(
                f"found seeds of shape {tuple(values.shape)} and {values.dtype}, "
                f"expected int64 [{n}], one for each sample"
            )
        # mixed, so that neighbouring seeds share nothing
        return Draws(_mix(values.cpu().to(torch.int64).numpy().astype(np.uint64)))
    if isinstance(generator, torch.Generator):
        return Draws(_draw(generator, n))
    generators = list(generator or ())
    if len(generators) != n or not all(isinstance(g, torch.Generator) for g in generators):
        raise InputError(
            f"found {len(generators)} generators for {n} samples, expected one torch.Generator "
            "for each"
        )
    return Draws(np.concatenate([_draw(g, 1) for g in generators]))


def normal_fields(
    seeds: np.ndarray, sizes: Sequence[tuple[int, int]], channels: int, device: torch.device
) -> Tensor:
    """Standard normal float32 `[n, channels, max h, max w]`; sample i is zero beyond its size.

    seeds: int64 `[n]`. One generator is re-seeded for each sample: a draw depends on its own seed
    and size alone (and on the kind of device, whose random streams differ).
    """
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    generator = torch.Generator(device)
    if len(sizes) == 1:
        generator.manual_seed(int(seeds[0]))
        return torch.randn((1, channels, height, width), generator=generator, device=device)
    out = torch.zeros((len(sizes), channels, height, width), device=device)
    for i, (h, w) in enumerate(sizes):
        generator.manual_seed(int(seeds[i]))
        out[i, :, :h, :w] = torch.randn((channels, h, w), generator=generator, device=device)
    return out


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _draw(generator: torch.Generator, n: int) -> np.ndarray:
    # one number a call: torch may draw a block of numbers otherwise than one by one
    values = [
        int(torch.randint(0, 2**62, (1,), generator=generator, device=generator.device))
        for _ in range(n)
    ]
    return _mix(np.asarray(values, dtype=np.int64).astype(np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    # the finaliser of SplitMix64; unsigned products wrap as they should
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = x ^ (x >> np.uint64(31))
    return found


def _to_unit(x: np.ndarray) -> np.ndarray:
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
