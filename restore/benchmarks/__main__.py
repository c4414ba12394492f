"""`python -m restore.benchmarks NAME ...`: every figure that the docs quote is printed by one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from restore.errors import RestoreError

BENCHMARKS = {
    "ablations": "what each part of the restorer is worth, by short equal trainings",
    "cover": "covered faces: fit the face space, and what it finds",
    "degradation": "degradations: images per second against the classical recipe",
    "detection": "detectors: faces found, false faces, landmark error, seconds",
    "face_size": "faces of the generator's full size against enlarged ones",
    "gpu": "faces per second on a GPU against the plain network",
    "graphs": "exported graphs: size, load and seconds, per runtime",
    "identity": "the identity network: its teacher, pairs of photos, thresholds, speed",
    "install": "a fresh light install: seconds and megabytes",
    "inversion": "real faces as codes in W, W+ and S: likeness and seconds",
    "pictures": "several before/after pairs in one picture",
    "pipeline": "the command line: start-up, a folder, cores kept busy, memory",
    "prior": "the face prior: heads, statistics, Frechet distances, where it is blind",
    "quality": "metrics on any two folders of pictures",
    "restorer": "the default restorer on the fixed validation protocol",
    "speed": "seconds per face of a network, per backend; photos stage by stage",
    "trust": "statuses, already-good faces, small faces, fidelity, identity",
    "trust_pictures": "the pictures of docs/trust.md",
    "training": "images per second of the training steps",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to `restore.benchmarks.NAME.main(argv)`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in BENCHMARKS:
        known = "\n".join(f"  {name:14s} {what}" for name, what in BENCHMARKS.items())
        print(f"usage: python -m restore.benchmarks NAME [...]\n{known}")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        result = import_module(f"restore.benchmarks.{arguments[0]}").main(arguments[1:])
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(result or 0)


if __name__ == "__main__":
    raise SystemExit(main())
