"""One photo of the page as HTML: slider, status, reason, notes, its faces and their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from restore.images.photo import Photo
from restore.pipeline.results import RestoredFace, RestoredPhoto
from restore.report.thumbnails import Thumbnails, data_uri, small_picture
from restore.report.words import STATUS_KINDS, numbers_of_face, reason_of, spoken, table, text


def photo_section(
    record: Mapping[str, Any],
    before: Photo | None,
    result: RestoredPhoto | None,
    sizes: Thumbnails,
) -> str:
    """The HTML of one photo.

    `record`: its line of results.jsonl. `before`: the photo as it was read, None where it cannot be
    read; `result`: None where there is none. Everything that comes from files is escaped.
    """
    name, status = str(record["input"]), str(record["status"])
    kind = STATUS_KINDS.get(status, "other")
    parts = [
        f'<article class="photo" data-kind="{kind}" data-name="{text(name)}">',
        f'<div class="title"><h2><bdi>{text(name)}</bdi></h2>{_status(status)}</div>',
    ]
    if reason := reason_of(record):
        parts.append(f"<p{' class=problem' if kind == 'bad' else ''}>{text(reason)}</p>")
    if before is not None and result is not None:
        parts.append(photo_slider(name, before, result, sizes))
    parts += [f'<p class="soft">{line}</p>' for line in _facts(record)]
    if result is not None and result.faces:
        records = record.get("faces", [])
        parts.append('<div class="faces">')
        parts += face_cards(name, records, result.faces, sizes)
        parts.append("</div>")
    parts.append(f'<script type="application/json" class="record">{_json(record)}</script>')
    parts.append("</article>")
    return "\n".join(parts)


def _facts(record: Mapping[str, Any]) -> Iterator[str]:
    facts = []
    if record.get("width"):
        facts.append(f"{record['width']} x {record['height']} px")
    if record.get("seconds") is not None:
        facts.append(f"{record['seconds']:.2f} s")
    if record.get("output"):
        facts.append(f"<bdi>{text(record['output'])}</bdi>")
    if facts:
        yield " · ".join(facts)
    for note in record.get("notes", ()):
        yield text(note)


def photo_slider(
    name: str, before: Photo, result: RestoredPhoto, sizes: Thumbnails, numbered: bool = False
) -> str:
    """The photo before and after; `numbered`: the boxes of its faces are shown from the start."""
    side = sizes.photo_side
    left = small_picture(before.joined(before.pixels, before.alpha), side, before.metadata.icc)
    right = small_picture(result.image, side, result.metadata.icc)
    width, height = before.size
    aligned = any(_fills(face, width, height) for face in result.faces)
    boxed = () if aligned else enumerate(result.faces, 1)
    tags = "".join(_tag(number, face, width, height, numbered) for number, face in boxed)
    label = f"Before and after: {name}"
    # No slider is larger than its picture has pixels, nor higher than a window.
    shape = right.shape[1], right.shape[0]
    return _slider(
        label, data_uri(left, sizes.quality), data_uri(right, sizes.quality), shape, tags
    )


def _fills(face: RestoredFace, width: int, height: int) -> bool:
    return bool(face.box[2] - face.box[0] >= width - 1 and face.box[3] - face.box[1] >= height - 1)


def _tag(number: int, face: RestoredFace, width: int, height: int, shown: bool) -> str:
    x0, y0, x1, y1 = (float(v) for v in face.box)
    left, top = 100 * x0 / width, 100 * y0 / height
    style = (
        f"left:{left:.2f}%;top:{top:.2f}%;width:{100 * (x1 - x0) / width:.2f}%;"
        f"height:{100 * (y1 - y0) / height:.2f}%"
    )
    hidden = "" if shown else " hidden"
    return f'<span class="tag" style="{style}"{hidden}><b>{number}</b></span>'


def _slider(label: str, before: str, after: str, shape: tuple[int, int], over: str = "") -> str:
    width, height = shape
    return (
        f'<div class="compare" style="aspect-ratio:{width}/{height};'
        f'max-width:min({width}px,{width / height:.4f}*80vh)">'
        f'<img class="after" alt="after" src="{after}" decoding="async">'
        f'<img class="before" alt="before" src="{before}" decoding="async">{over}'
        f'<span class="knob"></span>'
        f'<input type="range" min="0" max="100" step="0.5" value="50" aria-label="{text(label)}">'
        "</div>"
    )


def face_cards(
    name: str,
    records: Sequence[Mapping[str, Any]],
    faces: Sequence[RestoredFace],
    sizes: Thumbnails,
) -> Iterator[str]:
    """A card for each face: its status and reason, before and after, and its numbers."""
    pictures = 0
    for number, (record, face) in enumerate(zip(records, faces, strict=False), 1):
        yield '<section class="face">'
        yield f'<div class="title"><h3>Face {number}</h3>{_status(str(record["status"]))}</div>'
        if face.crop is not None and face.restored is not None and pictures < sizes.faces:
            pictures += 1
            left, right = (small_picture(p, sizes.face_side) for p in (face.crop, face.restored))
            yield _slider(
                f"Before and after: face {number} of {name}",
                data_uri(left, sizes.quality),
                data_uri(right, sizes.quality),
                (right.shape[1], right.shape[0]),
            )
        if record.get("reason"):
            yield f"<p>{text(record['reason'])}</p>"
        main, others = numbers_of_face(record)
        yield table(main)
        if others:
            yield f"<details><summary class=soft>more numbers</summary>{table(others)}</details>"
        yield "</section>"


def _status(status: str) -> str:
    kind = STATUS_KINDS.get(status, "other")
    return f'<span class="status {kind}">{text(spoken(status))}</span>'


def _json(record: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.dumps(record, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e")
