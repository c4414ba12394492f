"""What the page shows of a photo: the slider with numbered faces, cards of faces, messages."""

from __future__ import annotations

from restore.pipeline.report import photo_record
from restore.pipeline.results import RestoredPhoto
from restore.report.section import Thumbnails, face_cards, photo_slider, spoken, text
from restore.ui.open_photo import OpenPhoto

SIZES = Thumbnails(photo_side=1400, face_side=256, quality=92, faces=40)
NOTHING = """<div class="empty"><p>Drop photos on the left.</p>
<p class="soft">They stay on this machine: nothing is sent anywhere.</p></div>"""


def photo_view(opened: OpenPhoto, result: RestoredPhoto) -> str:
    """The photo before and after, with the boxes of its faces."""
    return photo_slider(opened.name, opened.photo, result, SIZES, numbered=True)


def faces_view(opened: OpenPhoto, result: RestoredPhoto) -> str:
    """One line on the photo, and a card for each face: status, reason, identity, numbers."""
    count = len(result.faces)
    width, height = opened.photo.size
    line = f"{width} x {height} px · {count} face{'' if count == 1 else 's'} found"
    line += f" · {spoken(result.status)} in {result.seconds:.2f} s"
    reason = f'<p class="calm">{text(result.reason)}</p>' if result.reason else ""
    notes = "".join(f'<p class="soft">{text(note)}</p>' for note in result.notes)
    cards = face_cards(opened.name, photo_record(result, {})["faces"], result.faces, SIZES)
    return (
        f'<p class="soft">{text(line)}</p>{reason}{notes}<div class="faces">{"".join(cards)}</div>'
    )


def problem(said: str) -> str:
    """A message on what went wrong."""
    return f'<p class="problem" role="alert">{text(said)}</p>'


def good_news(said: str) -> str:
    """A message on what was done."""
    return f'<p class="done" role="status">{text(said)}</p>'
