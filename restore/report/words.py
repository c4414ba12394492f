"""Numbers and names as a page says them: labels, units, and text that cannot become markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

LABELS = {
    "identity": "identity (cosine)",
    "degradation.blur_sigma": "blur σ (px)",
    "degradation.scale": "down-scaled by",
    "degradation.noise_sigma": "noise σ (of 255)",
    "degradation.jpeg_quality": "JPEG quality",
    "degradation.gray": "gray (0 to 1)",
    "degradation.damage": "damage (0 to 1)",
    "strength": "share restored",
    "score": "detector's score",
}
"""The numbers of a face that are shown at once, in this order; any other is folded away."""
_SHOWN_ELSEWHERE = ("status", "reason", "file", "box", "landmarks", "matrix")
STATUS_KINDS = {"restored": "good", "failed": "bad", "error": "bad", "partial": "bad"}
"""How a status is coloured; any other one is neutral."""


def text(value: Any) -> str:
    """Any value as HTML text, also one that holds markup, quotes or lone surrogates."""
    sound = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return html.escape(sound, quote=True)


def table(rows: Iterable[tuple[Any, Any]]) -> str:
    """Names and values as an HTML table."""
    cells = (f"<tr><th scope=row>{text(k)}</th><td>{text(v)}</td></tr>" for k, v in rows)
    return f"<table>{''.join(cells)}</table>"


def spoken(status: str) -> str:
    """ "no_face" -> "no face"."""
    return status.replace("_", " ")


def reason_of(record: Mapping[str, Any]) -> str:
    """Why a photo has its status, without its name, which stands above; empty where all is well."""
    return str(record.get("reason") or "").removeprefix(f"{record['input']}: ")


def numbers_of_face(record: Mapping[str, Any]) -> tuple[list[tuple[str, str]], ...]:
    """Label and value of the numbers of a face's record: the main ones, and all others.

    Whatever fields the record has are shown: a number that is new needs no change here.
    """
    found: dict[str, str] = {}
    for key, value in record.items():
        if key not in _SHOWN_ELSEWHERE:
            found |= _flat(key, value)
    main = [(LABELS[key], found.pop(key)) for key in LABELS if key in found]
    box = record.get("box")
    if isinstance(box, list) and len(box) == 4:
        main.append(("size (px)", f"{box[2] - box[0]:.0f} x {box[3] - box[1]:.0f}"))
    return main, [(spoken(key.replace(".", " ")), value) for key, value in found.items()]


def number(value: Any) -> str:
    """A number as short as it says something: 0.0117 -> 0.01, 75.23 -> 75.2, 1.0 -> 1."""
    if not isinstance(value, float):
        return str(value)
    shown = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return shown.rstrip("0").rstrip(".") or "0"


def _flat(key: str, value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        flat: dict[str, str] = {}
        for name, inner in value.items():
            flat |= _flat(f"{key}.{name}", inner)
        return flat
    return {} if value is None else {key: number(value)}
