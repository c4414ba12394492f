"""The restored faces of a photo put back into its enlarged background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restore.images.profile import ColourTransform
from restore.pipeline.results import Pixels, RestoredFace


def paste_back(
    canvas: Pixels,
    faces: Sequence[RestoredFace],
    photo_size: tuple[int, int],
    template: NDArray[np.float64],
    transform: ColourTransform | None = None,
) -> None:
    """Blend every restored face into `canvas` [h,w] or [h,w,3], in place.

    `photo_size`: width and height of the photo that the faces' matrices start from. `template`:
    [5,2] points in crop pixels. `transform`: the crops' way back from sRGB to the photo's colours.
    Pixels outside of the faces keep their values, in all their bits.
    """
    from restore.faces.mask import face_mask
    from restore.faces.paste import Patch, paste_faces, scale_matrix

    ready = [face for face in faces if face.restored is not None]
    if not ready:
        return
    assert ready[0].restored is not None
    mask = face_mask(ready[0].restored.shape[0], template)
    scale = canvas.shape[1] / photo_size[0], canvas.shape[0] / photo_size[1]
    patches = []
    for face in ready:
        assert face.restored is not None
        assert face.crop is not None
        assert face.matrix is not None
        restored, crop = face.restored, face.crop
        if transform is not None:
            restored, crop = transform.from_srgb(restored), transform.from_srgb(crop)
        patches.append(Patch(restored, scale_matrix(face.matrix, scale), mask, crop))
    paste_faces(canvas, patches)
