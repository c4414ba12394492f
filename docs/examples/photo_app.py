"""A photo app's core: restore in the background, show progress, let people stop, say what to trust.

Run it: python docs/examples/photo_app.py grandma.jpg restored.jpg
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from restore import RestoredFace, RestoredPhoto, Restorer, TrustOptions
from restore.errors import CancelledError, RestoreError

# Where the guard has a network, faces that would become somebody else are mixed with the photo's.
CAREFUL = TrustOptions(identity="blend", grain="match")


class Task:
    """One photo that is being restored; all calls come from the app's own thread."""

    def __init__(self, future: Future[RestoredPhoto], stop: threading.Event) -> None:
        self._future, self._stop = future, stop

    @property
    def done(self) -> bool:
        """Whether `result` returns at once."""
        return self._future.done()

    def cancel(self) -> None:
        """Ask it to stop: it does so before its next stage or batch of faces."""
        self._stop.set()

    def result(self, timeout: float | None = None) -> RestoredPhoto:
        """Wait for the photo. Raises CancelledError, or RestoreError with what is wrong."""
        return self._future.result(timeout)


class PhotoApp:
    """Holds one restorer for the life of the app: it is safe to share between threads."""

    def __init__(self, restorer: Restorer, trust: TrustOptions | None = None) -> None:
        self.restorer = restorer
        self.trust = trust or TrustOptions()
        # One worker: the network uses all cores by itself, and one photo at a time bounds memory.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="restore")

    def restore(
        self,
        photo: str | Path,
        on_progress: Callable[[int, int], None] | None = None,
        fidelity: float | str | None = "auto",
    ) -> Task:
        """Start on a photo. `on_progress(done, total)` is called from the worker's thread: post it
        to your event loop, do not touch widgets in it."""
        stop = threading.Event()
        future = self._pool.submit(
            self.restorer.restore,
            photo,
            fidelity=fidelity if self.restorer.runtime.supports_fidelity else None,
            trust=self.trust,
            progress=on_progress,
            cancel=stop.is_set,
        )
        return Task(future, stop)

    def close(self) -> None:
        """End the worker, after the photo in work."""
        self._pool.shutdown()


def describe(face: RestoredFace) -> str:
    """A line for people: what was done to a face, and how far to trust it."""
    parts = [face.status.replace("_", " ")]
    if face.identity is not None:
        parts.append(f"looks {face.identity:.0%} like the photo's face")
    if face.strength < 1:
        parts.append(f"{face.strength:.0%} of the restoration used")
    if face.reason:
        parts.append(face.reason)
    return "; ".join(parts)


def main(argv: list[str]) -> int:
    """Restore one photo, with progress; Ctrl-C cancels."""
    if len(argv) != 2:
        print(__doc__)
        return 2
    source, target = argv
    try:
        restorer = Restorer.load()
        # The guard needs its network; without it the app tells less and changes nothing else.
        app = PhotoApp(restorer, CAREFUL if restorer.guard.embedder is not None else None)
        task = app.restore(source, lambda done, total: print(f"{done} of {total} faces"))
        try:
            photo = task.result()
        except KeyboardInterrupt:
            task.cancel()
            photo = task.result()
        for note in photo.notes + photo.save(target):
            print(f"note: {note}")
    except CancelledError:
        print("cancelled; nothing was written")
        return 130
    except RestoreError as error:
        print(f"sorry: {error}")
        return 1
    for number, face in enumerate(photo.faces, 1):
        print(f"face {number}: {describe(face)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
