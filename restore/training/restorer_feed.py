"""Batches of the restorer: real and generated faces, degraded, each sample by its own draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from restore.degradation.degrade import degrade
from restore.degradation.recipe import Mixture
from restore.options.training import FidelityOptions
from restore.training.faces_in_frame import (
    CropSource,
    FramedFaces,
    Framing,
    place_in_frame,
    template_boxes,
)
from restore.training.generated import FaceBank
from restore.training.restorer_losses import RestorerBatch
from restore.training.sample_draws import SampleDraws


@dataclass(frozen=True)
class RestorerFeed:
    """Everything that a batch is made of.

    `share` of the samples are generated, evenly spread over the sample numbers. `parts`: boxes are
    wanted; where the data have none, those of the template serve (the crops are aligned).
    """

    draws: SampleDraws
    framing: Framing
    recipe: Mixture
    device: torch.device
    source: CropSource | None = None
    bank: FaceBank | None = None
    codes_bank: FaceBank | None = None
    """Of the codes-first phase, which has faces of its own."""
    share: float = 0.0
    fidelity: FidelityOptions = field(default_factory=FidelityOptions)
    parts: bool = False

    def batch(self, numbers: Sequence[int], step: int) -> RestorerBatch:
        """The samples `numbers` of the run as a batch."""
        faces, w, known = self.faces(numbers)
        fidelity = torch.tensor(self._fidelity(numbers, step), dtype=torch.float32)
        return self.degraded(faces, numbers, fidelity.to(self.device), w, known)

    def codes_batch(self, numbers: Sequence[int]) -> RestorerBatch:
        """Generated faces alone, for the codes-first phase; its samples count by themselves."""
        assert self.codes_bank is not None
        images, w = self.codes_bank.faces(list(numbers))
        gt = images.float() / 127.5 - 1
        faces = FramedFaces(gt, gt.new_ones(len(gt), 1, *gt.shape[2:]))
        ones = torch.ones(len(gt), device=self.device)
        return self.degraded(faces, numbers, ones, w, ones, purpose="codes.degrade")

    def faces(self, numbers: Sequence[int]) -> tuple[FramedFaces, Tensor | None, Tensor | None]:
        """Good faces, W+ of the generated ones (zeros for others) and which are generated."""
        made = [self._generated_before(n + 1) > self._generated_before(n) for n in numbers]
        if not any(made):
            assert self.source is not None
            real = self._real(numbers)
            if self.bank is None or self.share == 0:
                return real, None, None
            generator = self.bank.generator
            w = torch.zeros(len(numbers), generator.num_styles, generator.w_dim)
            return real, w.to(self.device), torch.zeros(len(numbers), device=self.device)
        assert self.bank is not None
        size = self.framing.size
        gt = torch.empty(len(numbers), 3, size, size, device=self.device)
        mask = gt.new_ones(len(numbers), 1, size, size)
        boxes = template_boxes(len(numbers), size).to(self.device)
        is_made = torch.tensor(made, device=self.device)
        draws = [self._generated_before(n) for n, m in zip(numbers, made, strict=True) if m]
        images, codes = self.bank.faces(draws)
        gt[is_made] = images.float() / 127.5 - 1
        w = codes.new_zeros(len(numbers), *codes.shape[1:])
        w[is_made] = codes
        if not all(made):
            real = self._real([n for n, m in zip(numbers, made, strict=True) if not m])
            gt[~is_made], mask[~is_made] = real.gt, real.mask
            if real.boxes is not None:
                boxes[~is_made] = real.boxes
        return FramedFaces(gt, mask, boxes if self.parts else None), w, is_made.float()

    def degraded(
        self,
        faces: FramedFaces,
        numbers: Sequence[int],
        fidelity: Tensor,
        w: Tensor | None,
        known: Tensor | None,
        purpose: str = "degrade",
    ) -> RestorerBatch:
        """Faces with their degradation: each sample by a seed of its own."""
        done = degrade(faces.gt, self.recipe, seeds=self.draws.integers(purpose, numbers))
        return RestorerBatch(
            lq=done.lq,
            gt=done.gt,
            mask=faces.mask,
            fidelity=fidelity,
            truth=done.truth.as_target(),
            boxes=faces.boxes,
            w=w,
            known=known,
            places=torch.from_numpy(
                np.stack([self.draws.numpy("window", n).random(2) for n in numbers])
            ),
        )

    def _real(self, numbers: Sequence[int]) -> FramedFaces:
        if self.source is None:
            raise AssertionError("a feed without crops makes generated faces alone")
        places = [n - self._generated_before(n) for n in numbers]
        faces = place_in_frame(self.source.draw(places), self.framing, self.draws, numbers)
        if not self.parts:
            return FramedFaces(faces.gt, faces.mask)
        if faces.boxes is not None:
            return faces
        boxes = template_boxes(len(faces.gt), self.framing.size).to(faces.gt)
        return FramedFaces(faces.gt, faces.mask, boxes)

    def _generated_before(self, number: int) -> int:
        """How many of the samples below `number` are generated."""
        return int(number * self.share + 1e-9) if self.bank is not None else 0

    def _fidelity(self, numbers: Sequence[int], step: int) -> list[float]:
        o = self.fidelity
        if step < o.codes_only_iter:
            return [0.0] * len(numbers)
        if o.mode == "fixed":
            return [o.value] * len(numbers)
        if step < o.start_iter:
            return [1.0] * len(numbers)
        drawn = []
        for number in numbers:
            which, value = self.draws.numpy("fidelity", number).random(2)
            end = o.zero_prob + o.one_prob
            drawn.append(0.0 if which < o.zero_prob else 1.0 if which < end else float(value))
        return drawn
