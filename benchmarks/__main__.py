"""`python -m benchmarks NAME ...` from a checkout: what prints the figures of the documents."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from restore.errors import RestoreError

BENCHMARKS = {
    "quality": "restored faces: by recipe against the truth, real ones without, any two folders",
    "trust": "statuses, small faces, fidelity, identity guard, covered faces",
    "identity": "the identity network: its teacher, pairs of photos, thresholds, guard, references",
    "detection": "detectors: faces found, false faces, landmark error, seconds",
    "degradation": "degradations: images per second against the classical recipe",
    "prior": "the face prior: heads, cost, Frechet distances, where it is blind",
    "speed": "faces, graphs, GPU, photos stage by stage, the command, the install, training",
    "pictures": "the pictures of the documents",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to `benchmarks.NAME.main(argv)`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in BENCHMARKS:
        known = "\n".join(f"  {name:12s} {what}" for name, what in BENCHMARKS.items())
        print(f"usage: python -m benchmarks NAME [...]\n{known}")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        result = import_module(f"benchmarks.{arguments[0]}").main(arguments[1:])
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(result or 0)


if __name__ == "__main__":
    raise SystemExit(main())
