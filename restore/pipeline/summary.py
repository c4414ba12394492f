"""What a run has to say of its faces, in one line: how many of each status, and identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from restore.pipeline.run import Outcome
from restore.pipeline.walk import Walk

_IGNORED_SHOWN = 10
_UNTOLD = ("hidden", "no photo by its name")
"""Reasons that are only counted."""


def faces_line(outcomes: Sequence[Outcome]) -> str | None:
    """Such as "faces: 7 restored, 2 already good; identity 0.81 on average, least 0.52 (a.jpg)".

    None where no face was found.
    """
    faces = [
        (face, outcome.job.source.name)
        for outcome in outcomes
        for face in outcome.record.get("faces", [])
    ]
    if not faces:
        return None
    count = Counter(face["status"] for face, _ in faces)
    said = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in count.items())
    measured = [
        (face["identity"], name)
        for face, name in faces
        if face.get("identity") is not None and face.get("strength")
    ]
    if not measured:
        return f"faces: {said}"
    least, where = min(measured)
    mean = sum(value for value, _ in measured) / len(measured)
    return f"faces: {said}; identity {mean:.2f} on average, least {least:.2f} ({where})"


def absent_line(outcomes: Sequence[Outcome]) -> str | None:
    """The note that identity was not measured, said once for all photos; None where it was."""
    for outcome in outcomes:
        for note in outcome.record.get("notes", []):
            if note.startswith("identity was not measured"):
                return str(note)
    return None


def ignored_lines(walk: Walk) -> list[str]:
    """The files that a user may have meant as photos and that are left aside, with the reason."""
    told = [f"{path}: ignored: {why}" for path, why in walk.ignored if why not in _UNTOLD]
    more = len(told) - _IGNORED_SHOWN
    return told[:_IGNORED_SHOWN] + ([f"and {more} more such files ignored"] if more > 0 else [])
