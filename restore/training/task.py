"""What the loop asks of a training: one step, its networks, and its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from restore.errors import CheckpointError
from restore.training.progress import Progress


@dataclass(frozen=True)
class Trained:
    """Networks by BasicSR's names (net_g, net_d, ...), averages and optimisers of a task."""

    networks: Mapping[str, nn.Module]
    averages: Mapping[str, nn.Module]
    optimisers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes; frozen weights are left out."""
        return {
            "networks": {k: trained_state(n) for k, n in self.networks.items()},
            "averages": {k: trained_state(n, self.networks[k]) for k, n in self.averages.items()},
            "optimisers": {k: o.state_dict() for k, o in self.optimisers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> None:
        """Take a state back; networks named in `ignore` keep their weights and start anew."""
        for name, network in self.networks.items():
            if name not in ignore:
                fill_trained(network, state["networks"].get(name), name)
        for name, average in self.averages.items():
            if name not in ignore:
                fill_trained(average, state["averages"].get(name), name, self.networks[name])
        for name, optimiser in self.optimisers.items():
            if name not in ignore and name in state["optimisers"]:
                optimiser.load_state_dict(state["optimisers"][name])

    def set_rates(self, factor: float) -> None:
        """Every optimiser's rate: its base rate (kept in the group as `base_lr`) times factor."""
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = group["base_lr"] * factor


class Task(Protocol):
    """One kind of training."""

    trained: Trained

    def step(self, progress: Progress) -> dict[str, Tensor]:
        """Train once on the samples that come next, count them; the losses to log."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state beside networks and optimisers."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        ...


def trained_state(network: nn.Module, live: nn.Module | None = None) -> dict[str, Tensor]:
    """The state dict without frozen parameters; `live` says what is frozen, for averages."""
    frozen = _frozen_names(live or network)
    return {k: v for k, v in network.state_dict().items() if k not in frozen}


def fill_trained(
    network: nn.Module,
    state: Mapping[str, Tensor] | None,
    name: str,
    live: nn.Module | None = None,
) -> None:
    """Load what `trained_state` gave; raises `CheckpointError` when it does not fit."""
    if state is None:
        raise CheckpointError(
            f"the state has no {name}; name it in path.ignore_resume_networks to start it anew"
        )
    try:
        missing, unknown = network.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"the state's {name} does not fit the network: {error}") from error
    lacking = [k for k in missing if k not in _frozen_names(live or network)]
    if lacking or unknown:
        raise CheckpointError(
            f"the state's {name} does not fit the network: missing {lacking[:4]}, "
            f"unknown {list(unknown)[:4]}; train.fix_decoder or the sizes differ"
        )


def _frozen_names(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if not p.requires_grad}
