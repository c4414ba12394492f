"""A photo open in the page: read once, restored as often as wished, and how it is shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from restore.faces.face import Face
from restore.images.files import read_photo
from restore.images.formats import written_suffix
from restore.images.photo import Photo
from restore.pipeline.network import Progress
from restore.pipeline.options import RestoreOptions
from restore.pipeline.report import photo_record
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredFace, RestoredPhoto
from restore.report.section import Thumbnails, face_cards, photo_slider, spoken, text


@dataclass(frozen=True, eq=False)
class OpenPhoto:
    """A photo in memory and the faces that were found in it."""

    path: Path
    photo: Photo
    found: tuple[Face, ...] | None = None
    """None before the first restoration."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.name


def open_photo(path: str | Path) -> OpenPhoto:
    """Read a photo. Raises InputError."""
    return OpenPhoto(Path(path), read_photo(path))


def restore_open(
    restorer: Restorer,
    opened: OpenPhoto,
    options: RestoreOptions,
    without: Collection[int] = (),
    progress: Progress | None = None,
) -> tuple[OpenPhoto, RestoredPhoto]:
    """Restore an open photo; faces are looked for the first time only.

    `without`: numbers of faces, from 0 in the order of detection, that stay as they are. Returns
    the photo with the faces found in it, and the result, whose faces are all that were found, in
    that order: those in `without` are skipped.
    """
    if opened.found is None:
        result = restorer.restore(opened.photo, options, progress=progress)
        found = tuple(Face(face.box, face.landmarks, face.score) for face in result.faces)
        opened = replace(opened, found=found)
        if not without:
            return opened, result
    assert opened.found is not None
    chosen = [i for i in range(len(opened.found)) if i not in without]
    result = restorer.restore(
        opened.photo, options, faces=[opened.found[i] for i in chosen], progress=progress
    )
    treated = dict(zip(chosen, result.faces, strict=True))
    faces = tuple(treated.get(i) or _left_out(face) for i, face in enumerate(opened.found))
    return opened, replace(result, faces=faces)


def save_restored(
    opened: OpenPhoto, result: RestoredPhoto, folder: Path, ai_label: bool = True
) -> tuple[Path, tuple[str, ...]]:
    """Write the result, in the photo's own format where that can be written, with its metadata.

    Returns the file, NAME_restored.SUFFIX in `folder`, and what could not be kept.
    """
    path = folder / f"{opened.path.stem}_restored{written_suffix(opened.path)}"
    return path, result.save(path, ai_label=ai_label)


def _left_out(face: Face) -> RestoredFace:
    return RestoredFace(face.box, face.landmarks, face.score, "skipped", "it was not chosen")


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
