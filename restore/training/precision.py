"""Number formats of a step: fp32, bf16 or fp16 with loss scaling; gradient clipping."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from restore.options.schema import Options
from restore.training.distributed import Ranks, average_gradients
from restore.training.stop import TrainingError

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_log = logging.getLogger(__name__)


class Stepper:
    """Backward pass, mean over ranks, clipping and the optimiser's step, in one number format.

    `clip` bounds the norm of an optimiser's gradients; None does not clip. A step whose gradient
    is not finite never touches the weights: up to `patience` of them in a row are left out, the
    next raises `TrainingError`. fp16 lowers its loss scale at such steps, and they do not count.
    """

    def __init__(
        self, ranks: Ranks, dtype: str = "fp32", clip: float | None = None, patience: int = 0
    ) -> None:
        self.ranks = ranks
        self.dtype = DTYPES[dtype]
        self.clip = clip
        self.patience = patience
        self.left_out = 0
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=dtype == "fp16")

    def autocast(self) -> AbstractContextManager[object]:
        """The context that forward passes run in."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.ranks.device.type, self.dtype)

    def step(
        self,
        optimiser: torch.optim.Optimizer,
        losses: Sequence[Callable[[], tuple[Tensor, Mapping[str, Tensor]]]],
    ) -> dict[str, Tensor]:
        """One step on the mean of `losses`, each a function that gives (loss, what to log).

        More than one is gradient accumulation. Returns the mean of what is to be logged, detached.
        """
        optimiser.zero_grad(set_to_none=True)
        logged: dict[str, Tensor] = {}
        for compute in losses:
            with self.autocast():
                loss, parts = compute()
            self.scaler.scale(loss / len(losses)).backward()
            for name, value in parts.items():
                logged[name] = logged.get(name, 0) + value.detach().float() / len(losses)
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        average_gradients(parameters, self.ranks)
        self.scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(parameters, self.clip or float("inf"))
        if self._usable(norm, logged):
            self.scaler.step(optimiser)
        self.scaler.update()
        optimiser.zero_grad(set_to_none=True)
        return logged

    def _usable(self, norm: Tensor, logged: Mapping[str, Tensor]) -> bool:
        if self.scaler.is_enabled() or bool(torch.isfinite(norm)):
            self.left_out = 0
            return True
        bad = ", ".join(k for k, v in logged.items() if not bool(torch.isfinite(v)))
        text = f"a gradient is not finite (losses that are not: {bad or 'none'})"
        if self.left_out >= self.patience:
            raise TrainingError(
                f"{text}; the weights were not touched and the last saved state is good. Resume "
                "with a lower learning rate, train.clip_grad_norm, or precision fp32"
            )
        self.left_out += 1
        _log.warning("%s; step left out, %d in a row", text, self.left_out)
        return False

    def state_dict(self) -> dict[str, Any]:
        """The loss scale."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back a loss scale; empty outside fp16."""
        if state:
            self.scaler.load_state_dict(dict(state))


def stepper_of(options: Options, ranks: Ranks) -> Stepper:
    """The stepper that an option file asks for."""
    train = options.train
    assert train is not None
    return Stepper(ranks, train.precision, train.clip_grad_norm, train.skip_nonfinite)
