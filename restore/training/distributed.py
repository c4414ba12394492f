"""The ranks of one training: start, gradients averaged, numbers summed, decisions shared."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from restore.errors import DeviceError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is, and on which device it computes."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0


def start_ranks(launcher: str = "none", num_gpu: int | str = "auto") -> Ranks:
    """Join the processes that torchrun ("pytorch") or slurm started; "none" is one process.

    `num_gpu` 0 is the CPU, "auto" a CUDA device where there is one; a number without one is said in
    the log. NCCL where each process has a CUDA device of its own, else gloo on the CPU.
    Raises `DeviceError` when the launcher's variables are missing.
    """
    use_cuda = num_gpu != 0 and torch.cuda.is_available()
    if not use_cuda and num_gpu not in (0, "auto"):
        _log.warning(
            "num_gpu: found %s, but torch sees no CUDA device here: training on the CPU "
            "(num_gpu: 0 or auto says so)",
            num_gpu,
        )
    if launcher == "none":
        return Ranks(device=torch.device("cuda" if use_cuda else "cpu"))
    names = {"pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    names["slurm"] = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    missing = [n for n in names[launcher] if n not in os.environ]
    if missing:
        raise DeviceError(
            f"--launcher {launcher} found no {', '.join(missing)} in the environment; start with "
            "torchrun --nproc_per_node=N -m restore.train ..., or use --launcher none"
        )
    rank, world, local = (int(os.environ[n]) for n in names[launcher])
    if launcher == "slurm":
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "29500")
    if use_cuda:
        torch.cuda.set_device(local)
    target = torch.device("cuda", local) if use_cuda else torch.device("cpu")
    dist.init_process_group("nccl" if use_cuda else "gloo", rank=rank, world_size=world)
    return Ranks(rank, world, target)


def meet_ranks(ranks: Ranks) -> None:
    """Wait until every rank is here: one that leaves first takes its connections from the others,
    which end in an abort when they let go of theirs."""
    if ranks.world > 1 and dist.is_initialized():
        dist.barrier()


def stop_ranks(ranks: Ranks) -> None:
    """Leave the process group."""
    if ranks.world > 1 and dist.is_initialized():
        dist.destroy_process_group()


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """Replace every gradient by its mean over the ranks, in one transfer.

    A parameter that no rank has a gradient for stays without; where only some have one the others
    count as zero. Unlike DistributedDataParallel it asks nothing of how the loss was computed.
    """
    if ranks.world == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    if not trained:
        return
    flags = torch.tensor([float(p.grad is not None) for p in trained], device=ranks.device)
    flat = torch.cat([flags, *(_gradient(p).flatten() for p in trained)])
    dist.all_reduce(flat)
    used = flat[: len(trained)].tolist()
    at = len(trained)
    for parameter, count in zip(trained, used, strict=True):
        piece = flat[at : at + parameter.numel()].view(parameter.shape)
        at += parameter.numel()
        # copy_ keeps the memory format of the gradient
        parameter.grad = None if count == 0 else _gradient(parameter).copy_(piece / ranks.world)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def summed(values: Tensor, ranks: Ranks) -> Tensor:
    """The sum over the ranks, on the device of `values`."""
    if ranks.world == 1:
        return values
    moved = values.to(ranks.device, copy=True)
    dist.all_reduce(moved)
    return moved.to(values.device)


def same_weights(networks: Iterable[nn.Module], ranks: Ranks) -> None:
    """Give all ranks the weights and buffers of the first."""
    if ranks.world == 1:
        return
    for network in networks:
        for tensor in (*network.parameters(), *network.buffers()):
            dist.broadcast(tensor.data, 0)
