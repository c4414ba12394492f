"""Photos and results for tests of the page, restored by the fakes of the pipeline."""

from __future__ import annotations

from unittest.mock import patch

from restore.images.photo import Photo, photo_from_array
from restore.pipeline.report import photo_record
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredPhoto
from tests.pipeline.fakes import FixedDetector, InvertRuntime, NoOcclusion, face_at
from tests.pipeline.test_restorer import smooth


def restored_photo(faces: int = 1, side: int = 96) -> tuple[Photo, RestoredPhoto]:
    """A photo of `side` px with so many faces, before and after."""
    found = [face_at(side / 2 + 3 * i, side / 2, side / 2) for i in range(faces)]
    photo = photo_from_array(smooth(side, side + 20))
    restorer = Restorer(InvertRuntime(), FixedDetector(*found))
    # the network would call waves covered faces
    with patch("restore.trust.occlusion.packaged_occlusion_detector", NoOcclusion):
        return photo, restorer.restore(photo, scale=1)


def record_of(result: RestoredPhoto, name: str = "a.png", **more) -> dict:
    """Its line of results.jsonl."""
    head = {"input": name, "status": result.status, "reason": None, "output": f"out/{name}"}
    return head | photo_record(result, {}) | more


def failed_record(name: str, reason: str) -> dict:
    """The line of a photo that could not be done."""
    return {"input": name, "status": "error", "reason": reason, "output": None}
