"""A folder on all cores: the next photos are restored while one is written; results the same."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, cast

from restore.images.files import Page, size_of
from restore.pipeline.names import Job
from restore.pipeline.options import RestoreOptions
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredPhoto
from restore.pipeline.run import Outcome, RunOptions, Watch, pages_of, run_jobs
from restore.runtime.contract import Runtime

CPU_AHEAD = 2
"""Photos that are restored at once: one decodes or detects while the network has the other."""
GPU_AHEAD = 8
"""As many fill the batches of a GPU, which `SharedBatches` joins."""
MEGAPIXELS_AT_ONCE = 80.0
"""Of the results in work, ready and being written; a larger photo is alone."""


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
    time. At most `ahead` photos, and of `MEGAPIXELS_AT_ONCE`, are in work or ready, which bounds
    the memory. The threads are daemons: an interrupted program does not wait for them.
    """

    def __init__(
        self,
        restorer: RestoresPhotos,
        sources: Iterable[Any],
        ahead: int,
        weight: Callable[[Any], float] = lambda source: 0.0,
    ) -> None:
        """`weight`: of a source, in megapixels of its result."""
        self._restorer, self._weight, self._ahead = restorer, weight, ahead
        self._sources = iter(sources)
        self._next: list[Any] = []  # taken from the sources, but too heavy yet
        self._work: deque[tuple[Any, float, Future[RestoredPhoto]]] = deque()
        self._written = 0.0  # weight of what the caller has
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def restore(self, photo: Any, options: RestoreOptions, **also: Any) -> RestoredPhoto:
        """The result of the next source, which must be `photo`; raises what its work raised."""
        self._written = 0.0
        self._start(options, also)
        source, weight, future = self._work[0]
        while source != photo and isinstance(source, Page) and source.index:
            self._work.popleft()  # a page before it failed, and with it its photo
            future.cancel()
            self._start(options, also)
            source, weight, future = self._work[0]
        if source != photo:
            raise ValueError(f"{photo} was asked for before {source}, which comes first")
        result: RestoredPhoto | None = None
        try:
            result = future.result()
        finally:
            self._work.popleft()
            self._written = weight
            self._start(options, also)  # the next ones, while the caller writes this one
        return result

    def close(self, wait: bool = True) -> None:
        """Cancel what was not asked for; with `wait` until the threads have noticed."""
        self._closed.set()
        for thread in self._threads if wait else ():
            thread.join()

    def _start(self, options: RestoreOptions, also: dict[str, Any]) -> None:
        while len(self._work) < self._ahead and not self._closed.is_set():
            try:
                self._next = self._next or [next(self._sources)]
            except StopIteration:
                return
            weight = self._weight(self._next[0])
            others = self._written + sum(work[1] for work in self._work)
            if others and others + weight > MEGAPIXELS_AT_ONCE:
                return
            source = self._next.pop()
            future: Future[RestoredPhoto] = Future()
            self._work.append((source, weight, future))
            thread = threading.Thread(
                target=self._do, args=(source, options, also, future), name="restore", daemon=True
            )
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]
            thread.start()

    def _do(
        self,
        source: Any,
        options: RestoreOptions,
        also: dict[str, Any],
        future: Future[RestoredPhoto],
    ) -> None:
        try:
            result = self._restorer.restore(source, options, cancel=self._closed.is_set, **also)
        except BaseException as error:  # raised again where the result is asked for
            future.set_exception(error)
        else:
            future.set_result(result)


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
    if ahead < 1:
        yield from run_jobs(cast(Restorer, restorer), jobs, options, watch)
        return
    counted: dict[Path, list[Path | Page]] = {}

    def pages(job: Job) -> list[Path | Page]:
        """The pages as they were counted first: both sides must ask for the same."""
        if job.source not in counted:
            counted[job.source] = pages_of(job)
        return counted[job.source]

    def weight(source: Path | Page) -> float:
        width, height = size_of(source.path if isinstance(source, Page) else source)
        return width * height * (1 + options.restore.scale**2) / 1e6

    sources = (source for job in jobs for source in pages(job))
    working = WorkingAhead(restorer, sources, ahead, weight)
    finished = False
    try:
        yield from run_jobs(cast(Restorer, working), jobs, options, watch, pages)
        finished = True
    finally:
        # Whoever interrupts a run does not wait for a network; at the end nothing is left to do,
        # but threads in native code must not outlive Python.
        working.close(wait=finished)
