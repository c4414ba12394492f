"""Journal: which photos of a preparation are done and what became of them, one JSON line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore.data.prepare.photo_job import PhotoResult
from restore.data.prepare.settings import PrepareSettings
from restore.errors import InputError


class Journal:
    """`photos.jsonl` and `settings.json` in the report folder of a set.

    A line is written after the crops of its photo are safe in the set, so a preparation that was
    cut off does that photo again and loses nothing.
    """

    def __init__(self, folder: str | Path, settings: PrepareSettings) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_settings(settings)
        self.path = self.folder / "photos.jsonl"
        self.entries = self._read()

    @property
    def done(self) -> frozenset[str]:
        """Names of the photos that are done."""
        return frozenset(entry["photo"] for entry in self.entries)

    def add(self, results: Sequence[PhotoResult]) -> None:
        """Note photos whose crops are safe."""
        entries = [_entry(result) for result in results]
        with self.path.open("a", encoding="utf-8") as file:
            for entry in entries:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.entries += entries

    def _check_settings(self, settings: PrepareSettings) -> None:
        path, mine = self.folder / "settings.json", settings.to_plain()
        if not path.is_file():
            path.write_text(json.dumps(mine, indent=1) + "\n", "utf-8")
            return
        before = json.loads(path.read_text("utf-8"))
        other = sorted(k for k in mine.keys() | before.keys() if mine.get(k) != before.get(k))
        if other:
            shown = ", ".join(f"{k}: {before.get(k)} then, {mine.get(k)} now" for k in other)
            raise InputError(
                f"{self.folder.name} belongs to a set with other settings ({shown}); give the same "
                "to go on, or another --out"
            )

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        text = self.path.read_text("utf-8")
        whole, _, cut = text.rpartition("\n")
        if cut:
            # the last line was cut off while it was written
            self.path.write_text(whole + "\n" if whole else "", "utf-8")
        return [json.loads(line) for line in whole.splitlines() if line]


def _entry(result: PhotoResult) -> dict[str, Any]:
    return {
        "photo": result.photo,
        "kept": [
            {
                "key": kept.key,
                "source": kept.record.source,
                "score": round(kept.record.score, 4),
                "sharpness": round(kept.record.sharpness, 3),
            }
            for kept in result.kept
        ],
        "dropped": [
            {"face": one.face, "reason": one.reason, "detail": one.detail} for one in result.dropped
        ],
    }
