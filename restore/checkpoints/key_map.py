"""Rules that carry tensors between a public layout and our modules, in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from restore.errors import CheckpointError

View = Literal["same", "lead", "plane", "one", "image", "grid"]


@dataclass(frozen=True)
class Rule:
    """ours = theirs * factor, reshaped. `view` is the shape over there: "same"; "lead" [1,...];
    "plane" [1,c,1,1] of our [c]; "one" [1] of our []; "image" [c,h,w] of our
    [1,c,h,w]; "grid" [h,w] of our [1,1,h,w].

    An `optional` tensor may be missing in the file; what fills its place is the loader's business.
    """

    theirs: str
    ours: str
    factor: float = 1.0
    view: View = "same"
    optional: bool = False

    def their_shape(self, ours: Sequence[int]) -> tuple[int, ...]:
        shape = tuple(ours)
        if self.view == "lead":
            return (1, *shape)
        if self.view == "plane":
            return (1, *shape, 1, 1)
        if self.view == "one":
            return (1,)
        if self.view == "image":
            return shape[1:]
        if self.view == "grid":
            return shape[2:]
        return shape


def fold(
    state: Mapping[str, Tensor], rules: Sequence[Rule], target: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Their tensors -> ours, float32. All missing, misshaped and unknown ones are in one error.

    `target`: the module's `state_dict()`, for the shapes; entries of the optional rules may be
    left out of the result.
    """
    problems = []
    folded = {}
    for rule in rules:
        tensor = state.get(rule.theirs)
        if tensor is None:
            if not rule.optional:
                problems.append(f"{rule.theirs} is missing")
            continue
        shape = tuple(target[rule.ours].shape)
        expected = rule.their_shape(shape)
        if tuple(tensor.shape) != expected:
            problems.append(f"{rule.theirs} is {tuple(tensor.shape)}, expected {expected}")
            continue
        folded[rule.ours] = (tensor.to(torch.float32) * rule.factor).reshape(shape)
    unknown = sorted(set(state) - {rule.theirs for rule in rules})
    problems += [f"{name} is not known to this family" for name in unknown]
    unfilled = sorted(set(target) - {rule.ours for rule in rules})
    problems += [f"our {name} has no source" for name in unfilled]
    if problems:
        shown = "; ".join(problems[:6])
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise CheckpointError(f"The tensors do not fit the detected network: {shown}{more}")
    return folded


def unfold(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Our tensors -> theirs, the inverse of `fold`: writes a checkpoint other programs read."""
    unfolded = {}
    for rule in rules:
        tensor = state[rule.ours]
        unfolded[rule.theirs] = (tensor / rule.factor).reshape(rule.their_shape(tensor.shape))
    return unfolded
