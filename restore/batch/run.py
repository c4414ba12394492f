"""The run over a cluster: rows to workers, records back, as Ray Data streams them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from restore.batch.plan import Plan
from restore.batch.worker import PhotoWorker, WorkerOptions
from restore.errors import DeviceError, MissingExtraError


@dataclass(frozen=True)
class Cluster:
    """Where the work runs."""

    address: str | None = None
    """Of a running cluster ("auto" for the one this machine belongs to); None starts a local one,
    which listens on 127.0.0.1 alone."""
    workers: int | None = None
    """Processes that each hold the model; None: as many as the cluster's CPUs or GPUs allow."""
    cpus: int = 1
    """Per worker; also the threads of its network unless they are given."""
    gpus: float = 0
    """Per worker."""


def run_batch(plan: Plan, options: WorkerOptions, cluster: Cluster) -> Iterator[dict[str, Any]]:
    """Yield the record of each photo of the plan as it is finished, in any order.

    A worker that dies is started anew by Ray and its photo tried again. Raises
    `MissingExtraError` without the extra `ray`, `DeviceError` where the cluster cannot do it.
    """
    if not plan.todo:
        return
    ray = _start(cluster)
    try:
        workers = cluster.workers or _workers(ray, cluster)
        workers = min(workers, len(plan.todo))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        blocks = min(len(plan.todo), 8 * workers)  # small ones, so that none waits for the last
        rows = ray.data.from_items(list(plan.todo), override_num_blocks=blocks)
        done = rows.map(
            PhotoWorker,
            fn_constructor_args=(options,),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus or None,
        )
        for row in done.iter_rows():
            yield json.loads(row["record"])
    finally:
        if cluster.address is None:
            ray.shutdown()


# Read by Ray when it is imported. Nothing is sent to anybody; a local cluster is for this machine
# only (on Linux Ray would listen on its outer address, this variable's name notwithstanding).
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def _start(cluster: Cluster) -> Any:
    local = cluster.address is None
    for name, value in {**SETTINGS, **(LOOPBACK_ONLY if local else {})}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray", "restore.batch") from error
    options: dict[str, Any] = {"address": cluster.address}
    if local:
        cpus = cluster.workers * cluster.cpus if cluster.workers else None
        options = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray has many kinds, plain Exception among them
        raise DeviceError(
            f"Ray cannot be started at {cluster.address or 'this machine'}: {error}"
        ) from error
    return ray


def _workers(ray: Any, cluster: Cluster) -> int:
    resources = ray.cluster_resources()
    limits = [resources.get("CPU", 0) / cluster.cpus]
    if cluster.gpus:
        limits.append(resources.get("GPU", 0) / cluster.gpus)
    if min(limits) < 1:
        raise DeviceError(
            f"the cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} "
            f"GPUs; a worker needs {cluster.cpus} and {cluster.gpus:g}"
        )
    return int(min(limits))
