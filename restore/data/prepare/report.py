"""The report of a preparation: counts, reasons, and sheets of kept and dropped crops."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from restore.data.decode import encode_image
from restore.data.prepare.photo_job import REASONS, THUMBNAIL, Dropped
from restore.data.stores import Store

SHEET_ROWS, SHEET_COLUMNS = 6, 12
_CAPTION = 14


def write_report(folder: Path, entries: Sequence[dict[str, Any]]) -> str:
    """Write report.md and dropped.csv from the journal's entries; returns the text of report.md."""
    kept = [one for entry in entries for one in entry["kept"]]
    dropped = [(entry["photo"], one) for entry in entries for one in entry["dropped"]]
    with (folder / "dropped.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "face", "reason", "detail"])
        rows.writerows(
            [photo, "" if one["face"] is None else one["face"], one["reason"], one["detail"]]
            for photo, one in dropped
        )
    lines = [
        "# Preparation of a training set",
        "",
        f"{len(entries)} photos, {len(kept)} crops kept, {len(dropped)} faces or photos dropped.",
        "",
        "| dropped for | count | meaning |",
        "|---|---|---|",
    ]
    reasons = Counter(one["reason"] for _, one in dropped)
    lines += [f"| {name} | {count} | {REASONS[name]} |" for name, count in reasons.most_common()]
    lines += ["", "| source | crops |", "|---|---|"]
    sources = Counter(one["source"] for one in kept)
    lines += [f"| {name or '(none)'} | {count} |" for name, count in sources.most_common()]
    if kept:
        lines += ["", "| of kept crops | 5 % | median | 95 % |", "|---|---|---|---|"]
        for name in ("score", "sharpness"):
            low, middle, high = np.percentile([one[name] for one in kept], [5, 50, 95])
            lines.append(f"| {name} | {low:.2f} | {middle:.2f} | {high:.2f} |")
    text = "\n".join(lines) + "\n"
    (folder / "report.md").write_text(text, "utf-8")
    return text


def write_contact_sheet(path: Path, store: Store, seed: int = 0) -> None:
    """A picture of up to 72 crops of a set, drawn at random, in order of keys."""
    rng = np.random.default_rng(seed)
    count = min(len(store.keys), SHEET_ROWS * SHEET_COLUMNS)
    keys = sorted(rng.choice(np.array(store.keys), count, replace=False).tolist())
    thumbnails = [
        cv2.resize(store.image(key), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        for key in keys
    ]
    _write_sheet(path, thumbnails, keys)


def write_dropped_sheet(path: Path, dropped: Sequence[Dropped]) -> None:
    """The same of up to 72 dropped crops, with their reasons; nothing where there is none."""
    shown = [one for one in dropped if one.thumbnail is not None]
    shown = shown[: SHEET_ROWS * SHEET_COLUMNS]
    if shown:
        captions = [f"{one.reason}: {one.detail.split(' ')[0]}" for one in shown]
        _write_sheet(path, [one.thumbnail for one in shown if one.thumbnail is not None], captions)


def _write_sheet(path: Path, thumbnails: Sequence[np.ndarray], captions: Sequence[str]) -> None:
    rows = -(-len(thumbnails) // SHEET_COLUMNS)
    columns = min(len(thumbnails), SHEET_COLUMNS)
    high = THUMBNAIL + _CAPTION
    sheet = np.full((rows * high, columns * THUMBNAIL, 3), 255, np.uint8)
    for i, (picture, caption) in enumerate(zip(thumbnails, captions, strict=True)):
        y, x = (i // columns) * high, (i % columns) * THUMBNAIL
        sheet[y : y + THUMBNAIL, x : x + THUMBNAIL] = picture
        text = caption.encode("ascii", "replace").decode()[-16:]
        place = (x + 2, y + high - 4)
        cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.3, (0, 0, 0), 1, cv2.LINE_AA)
    path.write_bytes(encode_image(sheet, "jpg", 90))
