"""A folder on all cores: the next photos are restored while one is written; results the same."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, cast

from restore.pipeline.names import Job
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredPhoto
from restore.pipeline.run import Outcome, RunOptions, Watch, run_jobs
from restore.runtime.contract import Runtime

CPU_AHEAD = 2
"""Photos that are restored at once: one decodes or detects while the network has the other."""
GPU_AHEAD = 8
"""As many fill the batches of a GPU, which `SharedBatches` joins."""


def ahead_of(runtime: Runtime) -> int:
    """How many photos at once suit a runtime and this machine."""
    if getattr(runtime, "joins_requests", False):
        return GPU_AHEAD
    return CPU_AHEAD if (os.cpu_count() or 1) > 1 else 1


class RestoresPhotos(Protocol):
    """The one thing that a run asks of a `Restorer`."""

    @property
    def restore(self) -> Callable[..., RestoredPhoto]:
        """As `Restorer.restore`."""
        ...


class WorkingAhead:
    """A restorer that works on the photos that will be asked for next, in threads of its own.

    `sources` in the order in which `restore` will be asked for them, with the same options each
    time. At most `ahead` photos are in work or ready, which bounds the memory.
    """

    def __init__(self, restorer: RestoresPhotos, sources: Sequence[Any], ahead: int) -> None:
        self._restorer = restorer
        self._todo = deque(sources)
        self._work: deque[tuple[Any, Future[RestoredPhoto]]] = deque()
        self._ahead = ahead
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(ahead, thread_name_prefix="restore")

    def restore(self, photo: Any, **options: Any) -> RestoredPhoto:
        """The result of the next source, which must be `photo`; raises what its work raised."""
        self._start(options)
        source, future = self._work[0]
        if source != photo:
            raise ValueError(f"{photo} was asked for before {source}, which comes first")
        result: RestoredPhoto | None = None
        try:
            result = future.result()
        finally:
            self._work.popleft()
            self._start(options)  # the next ones, while the caller writes this one
        return result

    def close(self) -> None:
        """Cancel what was not asked for and wait until the threads have noticed."""
        self._closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, options: dict[str, Any]) -> None:
        while self._todo and len(self._work) < self._ahead and not self._closed.is_set():
            source = self._todo.popleft()
            future = self._pool.submit(
                self._restorer.restore, source, cancel=self._closed.is_set, **options
            )
            self._work.append((source, future))


def run_overlapped(
    restorer: RestoresPhotos,
    jobs: Sequence[Job],
    options: RunOptions,
    watch: Watch | None = None,
    ahead: int = CPU_AHEAD,
) -> Iterator[Outcome]:
    """`run_jobs`, with `ahead` photos read, restored and pasted while another one is written.

    Outcomes come in the order of the jobs and photos are written in the caller's thread, as by
    `run_jobs`: an interruption leaves neither a half-written photo nor one without its line in the
    report. `ahead` 0 is `run_jobs`.
    """
    if ahead < 1 or len(jobs) < 2:
        yield from run_jobs(cast(Restorer, restorer), jobs, options, watch)
        return
    working = WorkingAhead(restorer, [job.source for job in jobs], ahead)
    try:
        yield from run_jobs(cast(Restorer, working), jobs, options, watch)
    finally:
        working.close()
