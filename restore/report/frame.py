"""What stands around the photos of a page: head, honesty, settings, buttons, and the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import resources
from typing import Any

from restore.report.words import table

MARK = b"<!-- restore report 1 -->"
TAIL = (
    b"\n</main>\n<footer><p class=soft>Made by restore, offline.</p></footer>\n</body>\n</html>\n"
)
_BAR = """<button data-only="" aria-pressed="true">All</button>
<button data-only="good" aria-pressed="false">Restored</button>
<button data-only="other" aria-pressed="false">Without a face</button>
<button data-only="bad" aria-pressed="false">Problems</button>
<button id="boxes" aria-pressed="false">Number the faces</button>
<input id="find" type="search" placeholder="Find a file" aria-label="Find a file by its name">
<button id="save">Save the numbers (JSON)</button>"""
_WITHOUT_SCRIPT = """
.compare { display: flex; aspect-ratio: auto !important; max-width: none !important; }
.compare .before { position: static; clip-path: none; order: -1; }
.compare img { width: 50%; height: auto; }
.compare input, .compare .knob, .compare::after, .bar { display: none; }
"""
HONEST = (
    "Restored detail is plausible, not evidence. A generative model fills in what a photo no "
    "longer holds: eyes, teeth, wrinkles and skin of a damaged face are invented. Do not use these "
    "pictures to identify or to judge a person."
)
# No request can leave the page, whatever a file name or a metadata field may hold.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def now() -> str:
    """Date and time in UTC, to the minute."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def page_file(name: str) -> str:
    """The text of a style sheet or script that lies in this folder."""
    return resources.files("restore.report").joinpath(name).read_text("utf-8")


def page_head(settings: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What stands before and behind the room of the summary."""
    style = page_file("page.css") + page_file("faces.css")
    script = page_file("page.js") + page_file("faces.js")
    head = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{MARK.decode()}\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>restore: report of {now()}</title>\n<style>\n{style}</style>\n"
        f"<noscript><style>{_WITHOUT_SCRIPT}</style></noscript>\n"
        f"</head>\n<body>\n<header>\n<h1>Restored photos</h1>\n<p class=soft>{now()}</p>\n"
        f'<p class="honest">{HONEST}</p>\n'
    )
    rest = (
        f"\n<details><summary>Settings and versions</summary>{table(settings.items())}</details>\n"
        "</header>\n<main>\n"
        f'<div class="bar">{_BAR}</div>\n'
        f"<script>\n{script}</script>\n"
    )
    return head.encode("utf-8"), rest.encode("utf-8")
