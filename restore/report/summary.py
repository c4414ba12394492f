"""The summary of a page: how many photos and faces came to what, and what failed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from restore.report.words import STATUS_KINDS, reason_of, spoken, text

SUMMARY = b"<!-- summary -->"
SUMMARY_BYTES = 65_536
"""The summary is rewritten in place after each photo; so much room is kept for it."""


@dataclass
class Counts:
    """What the summary tells, and how a later run goes on."""

    photos: dict[str, int] = field(default_factory=dict)
    """Photos by status."""
    faces: dict[str, int] = field(default_factory=dict)
    """Faces by status."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of the first photos that failed, as many as there is room for."""
    more_failures: int = 0
    """Failed photos beyond these."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a photo by its record."""
        status = str(record["status"])
        self.photos[status] = self.photos.get(status, 0) + 1
        for name, count in Counter(str(face["status"]) for face in record.get("faces", ())).items():
            self.faces[name] = self.faces.get(name, 0) + count
        if STATUS_KINDS.get(status) == "bad":
            said = (str(record["input"])[-200:], (reason_of(record) or status)[:200])
            kept = [*self.failures, said]
            # They stand there twice, and escaping makes up to six characters of one.
            if len(json.dumps(kept)) < SUMMARY_BYTES // 14:
                self.failures = kept
            else:
                self.more_failures += 1


def summary_html(counts: Counts) -> str:
    """Counts of photos and faces, what failed, and the counts as JSON for a later run."""
    total = sum(counts.photos.values())
    items = [f"<li><b>{total}</b>photo{'' if total == 1 else 's'}</li>"]
    for prefix, table in (("", counts.photos), ("faces ", counts.faces)):
        items += [
            f"<li><b>{count}</b>{text(prefix + spoken(name))}</li>" for name, count in table.items()
        ]
    failed = ""
    if counts.failures:
        lines = "".join(
            f"<li><bdi>{text(name)}</bdi>: {text(reason)}</li>" for name, reason in counts.failures
        )
        if counts.more_failures:
            lines += f"<li>and {counts.more_failures} more; press Problems</li>"
        title = '<summary class="problem">What failed</summary>'
        failed = f"<details open>{title}<ul>{lines}</ul></details>"
    state = json.dumps(asdict(counts)).replace("<", "\\u003c").replace(">", "\\u003e")
    return (
        f'<ul class="counts">{"".join(items)}</ul>{failed}'
        f'<script type="application/json" id="state">{state}</script>'
    )
