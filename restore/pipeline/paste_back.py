"""The restored faces of a photo put back into its enlarged background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from restore.images.depth import to_gray
from restore.images.profile import ColourTransform
from restore.pipeline.examine import native_side
from restore.pipeline.results import Pixels, RestoredFace
from restore.pipeline.trust_options import TrustOptions


def paste_back(
    canvas: Pixels,
    faces: Sequence[RestoredFace],
    photo_size: tuple[int, int],
    template: NDArray[np.float64],
    trust: TrustOptions | None = None,
    transform: ColourTransform | None = None,
    colourless: bool = False,
) -> None:
    """Blend every changed face into `canvas` [h,w] or [h,w,3], in place.

    `photo_size`: width and height of the photo that the faces' matrices start from. `template`:
    [5,2] points in crop pixels. `transform`: the crops' way back from sRGB to the photo's colours.
    `colourless`: the photo is gray, R = G = B, and stays so. Pixels outside of the faces keep their
    values, in all their bits; a face that was kept is not touched, and its middle not by the
    others' rims either.
    """
    from restore.faces.grain import add_grain
    from restore.faces.mask import face_mask
    from restore.faces.paste import Patch, paste_faces, scale_matrix

    ready = [face for face in faces if face.changed]
    if not ready:
        return
    trust = trust or TrustOptions()
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
        if colourless:
            restored, crop = to_gray(restored), to_gray(crop)
        matrix = scale_matrix(face.matrix, scale)
        patches.append(Patch(restored, matrix, mask, crop, _detail(face, trust)))
    changed = [(patch.matrix, patch.mask) for patch in patches]
    patches += [
        Patch(None, scale_matrix(face.matrix, scale), mask)
        for face in faces
        if not face.changed and face.matrix is not None
    ]
    before = canvas.copy() if trust.grain == "match" else None
    paste_faces(canvas, patches)
    if before is not None:
        add_grain(canvas, before, changed, np.random.default_rng(trust.seed))


def _detail(face: RestoredFace, trust: TrustOptions) -> float:
    """Share of the photo's detail above the crop's resolution that stays in this face."""
    from restore.faces.detail import detail_trust

    assert face.crop is not None
    if not trust.detail or face.quality is None:
        return 0.0
    ratio = native_side(face) / face.crop.shape[0]
    # The photo's own share of a gentle face comes with all of its detail.
    own = 1 - face.strength if ratio > 1 else 0.0
    return own + face.strength * detail_trust(ratio, face.quality)
