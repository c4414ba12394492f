"""The label of AI-made detail: IPTC digital source type and a line of history, in the XMP."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from restore import __version__
from restore.errors import InputError
from restore.images.files_write import JPEG_SEGMENT
from restore.images.formats import Format
from restore.images.metadata import XMP_SEGMENT, Metadata
from restore.images.xmp import digital_source_type, set_source_type

_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
AI_COMPOSITE = _TYPES + "compositeWithTrainedAlgorithmicMedia"
"""IPTC: a photo with some elements that a trained model made."""
AI_MADE = _TYPES + "trainedAlgorithmicMedia"
"""IPTC: all of it is a trained model's; a restoration makes it no less so."""


def ai_labelled(
    metadata: Metadata, faces: int, form: Format, when: datetime | None = None
) -> tuple[Metadata, tuple[str, ...]]:
    """Metadata that says that a generative model restored `faces` faces; and notes.

    What the XMP packet holds stays. A packet that is damaged, or would be too long for a JPEG
    then, stays as it was, without the label, and a note says so. `when`: None for now.
    """
    if not form.metadata:
        return metadata, (f"{form.name} holds no XMP: without the AI label",)
    former = digital_source_type(metadata.xmp)
    parameters = (
        f"{faces} face{'' if faces == 1 else 's'} restored by a generative model; "
        "the detail is plausible, not evidence"
    )
    if former is not None:
        parameters += f"; DigitalSourceType was {former}"
    moment = (when or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    event = {
        "action": "edited",
        "softwareAgent": f"restore {__version__}",
        "when": moment,
        "parameters": parameters,
        "changed": "/",
    }
    value = AI_MADE if former == AI_MADE else AI_COMPOSITE
    try:
        xmp = set_source_type(metadata.xmp, value, event)
    except InputError as error:
        return metadata, (f"the XMP packet {error}; it is kept, without the AI label",)
    if metadata.xmp and form.name == "JPEG" and len(xmp) + len(XMP_SEGMENT) > JPEG_SEGMENT:
        return metadata, ("the XMP packet leaves no room in a JPEG: without the AI label",)
    return replace(metadata, xmp=xmp), ()
