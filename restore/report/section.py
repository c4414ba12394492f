"""One photo's section of the report: words, thumbnails, faces before and after."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restore.images.photo import Photo
from restore.images.pixels import over_white, split_alpha, to_rgb, to_uint8
from restore.images.profile import colour_transform
from restore.pipeline.results import RestoredFace, RestoredPhoto

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
_SHOWN_ELSEWHERE = ("status", "reason", "file", "box", "landmarks", "matrix", "page")
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


@dataclass(frozen=True)
class Thumbnails:
    """How large the pictures of a page are."""

    photo_side: int = 960
    """Longest side of a photo in px."""
    face_side: int = 256
    """Side of a face in px."""
    quality: int = 80
    """JPEG quality, 1..100."""
    faces: int = 24
    """At most so many faces of a photo have pictures; the others have numbers only."""


def thumbnails_for(photos: int) -> Thumbnails:
    """Sizes that keep the page of so many photos near 60 MB, which browsers still open."""
    if photos <= 60:
        return Thumbnails()
    if photos <= 250:
        return Thumbnails(640, 192)
    return Thumbnails(448, 144, 75, faces=8)


def small_picture(pixels: np.ndarray, side: int, icc: bytes | None = None) -> np.ndarray:
    """uint8 or uint16 [h,w] or [h,w,c], c = 1..4 -> uint8 sRGB [h',w',3], at most `side` px.

    Alpha is laid over white. `icc`: the profile of the pixels; None for sRGB.
    """
    import cv2

    planes = pixels if pixels.ndim == 3 else pixels[:, :, None]
    height, width = planes.shape[:2]
    factor = side / max(height, width)
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        # OpenCV drops the last axis of [h,w,1].
        resized = cv2.resize(planes, size, interpolation=cv2.INTER_AREA)
        planes = resized if resized.ndim == 3 else resized[:, :, None]
    small, alpha = split_alpha(to_uint8(planes))
    if alpha is not None:
        small = over_white(small, alpha)
    rgb = np.ascontiguousarray(to_rgb(small))
    transform = None if small.ndim == 2 else colour_transform(icc)
    return rgb if transform is None else transform.to_srgb(rgb)


def data_uri(rgb: np.ndarray, quality: int = 80) -> str:
    """uint8 RGB [h,w,3] -> "data:image/jpeg;base64,..."."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def photo_section(record: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The HTML of one photo.

    `record`: its line of results.jsonl. `pictures`: of its pages, by `picture_section`; none where
    nothing came of it. Everything that comes from files is escaped.
    """
    name, status = str(record["input"]), str(record["status"])
    kind = STATUS_KINDS.get(status, "other")
    parts = [
        f'<article class="photo" data-kind="{kind}" data-name="{text(name)}">',
        f'<div class="title"><h2><bdi>{text(name)}</bdi></h2>{_status(status)}</div>',
    ]
    if reason := reason_of(record):
        parts.append(f"<p{' class=problem' if kind == 'bad' else ''}>{text(reason)}</p>")
    parts += [f'<p class="soft">{line}</p>' for line in _facts(record)]
    parts += pictures
    parts.append(f'<script type="application/json" class="record">{_json(record)}</script>')
    parts.append("</article>")
    return "\n".join(parts)


def picture_section(
    record: Mapping[str, Any], before: Photo | None, result: RestoredPhoto, sizes: Thumbnails
) -> str:
    """The HTML of a photo's pixels and faces, or of one of its pages.

    `record`: of the photo or page; with `page` and `pages` it gets a heading. `before`: as it was
    read, None where it cannot be read.
    """
    name, parts = str(record["input"]), []
    if "page" in record:
        page, pages = record["page"], record["pages"]
        name = f"{name}, page {page}"
        size = f"{record['width']} x {record['height']} px"
        parts.append(f'<div class="title"><h3>Page {page} of {pages}</h3>{size}</div>')
    if before is not None:
        parts.append(photo_slider(name, before, result, sizes))
    if result.faces:
        parts.append('<div class="faces">')
        parts += face_cards(name, record.get("faces", []), result.faces, sizes)
        parts.append("</div>")
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
