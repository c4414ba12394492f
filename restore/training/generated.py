"""A bank of faces painted by the frozen prior, whose codes are known."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from restore.training.sample_draws import SampleDraws


@dataclass(frozen=True)
class BankOptions:
    """How generated faces are drawn.

    `size`: px; `truncation`: psi is uniform between these; `fresh`: share of draws that paint a
    new face, the others repeat one of the newest `keep`; `block`: faces painted together;
    `mixing_prob`: a second code takes over at a random layer (then W+ is known, not W alone);
    `name`: banks of other names hold other faces.
    """

    size: int
    truncation: tuple[float, float] = (0.7, 1.0)
    fresh: float = 0.5
    keep: int = 4000
    block: int = 1
    mixing_prob: float = 0.0
    name: str = "bank"


class FaceBank:
    """Faces of a generator by number: face k is a function of (seed, k) alone.

    So nothing of it needs to be saved: what a resumed run lacks is painted again, bit-equal on
    the same machine because faces are always painted in the same blocks.
    """

    def __init__(self, generator: Any, draws: SampleDraws, options: BankOptions) -> None:
        self.generator = generator
        self.draws = draws
        self.options = options
        self._blocks: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()

    def faces(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """The faces of draws: (uint8 [n,3,size,size] RGB, W+ [n,k,w_dim]), on the device."""
        found = [self._face(self._choose(n)) for n in numbers]
        return torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found])

    def _choose(self, draw: int) -> int:
        """Which face a draw shows: the newest one so far, or one of those before it."""
        newest = int((draw + 1) * self.options.fresh)
        if int(draw * self.options.fresh) < newest or newest == 0:
            return newest
        oldest = max(0, newest - self.options.keep)
        rng = self.draws.numpy(f"{self.options.name}.choice", draw)
        return int(rng.integers(oldest, newest + 1))

    def _face(self, number: int) -> tuple[Tensor, Tensor]:
        index, place = divmod(number, self.options.block)
        if index not in self._blocks:
            self._blocks[index] = self._paint(index)
            while len(self._blocks) * self.options.block > self.options.keep + self.options.block:
                self._blocks.popitem(last=False)
        images, codes = self._blocks[index]
        return images[place], codes[place]

    @torch.no_grad()
    def _paint(self, index: int) -> tuple[Tensor, Tensor]:
        g, o = self.generator, self.options
        numbers = list(range(index * o.block, (index + 1) * o.block))
        z_dim = getattr(g, "z_dim", g.w_dim)
        device = next(g.parameters()).device
        w_plus = self._codes(f"{o.name}.z", numbers, z_dim, device)
        if o.mixing_prob > 0:
            second = self._codes(f"{o.name}.z2", numbers, z_dim, device)
            for i, number in enumerate(numbers):
                rng = self.draws.numpy(f"{o.name}.mixing", number)
                if rng.random() < o.mixing_prob:
                    at = int(rng.integers(1, g.num_styles))
                    w_plus[i, at:] = second[i, at:]
        image = g.synthesis(w_plus, size=self._painted_size()).clamp(-1, 1)
        if image.shape[-1] != o.size:
            image = F.avg_pool2d(image, image.shape[-1] // o.size)
        return ((image.float() + 1) * 127.5).round().to(torch.uint8), w_plus

    def _painted_size(self) -> int:
        """The smallest size that the generator gives and that is not below the wanted one."""
        sizes = getattr(self.generator, "sizes", (self.options.size,))
        return min(size for size in sizes if size >= self.options.size)

    def _codes(self, purpose: str, numbers: list[int], z_dim: int, device: torch.device) -> Tensor:
        g, (low, high) = self.generator, self.options.truncation
        w = g.mapping(self.draws.normal(purpose, numbers, z_dim).to(device))
        drawn = self.draws.uniform(f"{self.options.name}.psi", numbers)
        psi = low + (high - low) * torch.tensor(drawn)
        w = g.w_mean + psi.to(w)[:, None] * (w - g.w_mean)
        return w[:, None].repeat(1, g.num_styles, 1)
