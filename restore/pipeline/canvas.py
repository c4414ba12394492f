"""The photo that faces are pasted on: its background enlarged, and the faces put back."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError, MissingExtraError, OptionError
from restore.images.pixels import to_gray
from restore.images.profile import ColourTransform
from restore.pipeline.options import TrustOptions
from restore.pipeline.policies import native_side
from restore.pipeline.results import Pixels, RestoredFace

MAX_OUTPUT_PIXELS = 715_827_880
"""Most pixels of a result: four times what a photo may have, a 2x scale of the largest."""

_BROKEN_WEIGHTS = (
    pickle.UnpicklingError, OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError
)  # fmt: skip
"""What torch and safetensors raise on a file that is no weights file."""


class Upsampler(Protocol):
    """Anything that enlarges an RGB photo."""

    def enlarge(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 or uint16 [h,w,3] -> the same dtype, larger by the model's own factor."""
        ...


def check_scale(scale: float) -> None:
    """InputError for a scale that makes no photo."""
    number = isinstance(scale, (int, float, np.number)) and not isinstance(scale, bool)
    if not (number and np.isfinite(scale) and scale > 0):
        raise InputError(f"scale is {scale!r}; expected a number above 0")


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """round(side * scale), at least 1 px each; InputError for scales that make no photo."""
    check_scale(scale)
    new = max(round(width * scale), 1), max(round(height * scale), 1)
    if new[0] * new[1] > MAX_OUTPUT_PIXELS:
        raise InputError(
            f"scale {scale} makes {new[0]} x {new[1]} pixels of {width} x {height}; "
            f"at most {MAX_OUTPUT_PIXELS} are made; choose a smaller scale"
        )
    return new


def resize_background(
    pixels: np.ndarray, size: tuple[int, int], upsampler: Upsampler | None = None
) -> np.ndarray:
    """Pixels [h,w] or [h,w,3], uint8 or uint16 -> a fresh array of `size` (width, height).

    Pixel x of the photo lies at (x + 0.5) * s - 0.5 of the result. Without an upsampler: Lanczos
    (a = 4) up, area average down, an exact copy at the same size.
    """
    if upsampler is not None:
        rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
        large = upsampler.enlarge(np.ascontiguousarray(rgb))
        pixels = large if pixels.ndim == 3 else np.ascontiguousarray(large[:, :, 1])
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels.copy()
    import cv2

    smaller = size[0] < pixels.shape[1] or size[1] < pixels.shape[0]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4)


def resize_alpha(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Alpha [h,w] -> size (width, height), without the ringing that Lanczos would bring."""
    if (alpha.shape[1], alpha.shape[0]) == size:
        return alpha.copy()
    import cv2

    smaller = size[0] < alpha.shape[1] or size[1] < alpha.shape[0]
    return cv2.resize(alpha, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def load_upsampler(path: str | Path, tile: int = 400, device: str | None = None) -> Upsampler:
    """A super-resolution network for the background from a file that spandrel knows.

    `tile`: side in px of the pieces that go through the network, 0 for the whole photo at once.
    Raises OptionError where there is no such file, MissingExtraError without the extra `peers`.
    """
    path = Path(path)
    if not path.is_file():
        raise OptionError(
            f"--bg_upsampler {path}: there is no such file; expected the weights of a "
            "super-resolution network (such as RealESRGAN_x2plus.pth), or leave the option out"
        )
    if tile < 0:
        raise OptionError(f"--bg_tile is {tile}; expected 0 or more pixels")
    try:
        import spandrel
        import torch
    except ImportError as error:
        raise MissingExtraError("spandrel", "peers", "A background upsampler") from error
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        model = spandrel.ModelLoader(device=chosen).load_from_file(path)
    except (spandrel.UnsupportedModelError, *_BROKEN_WEIGHTS) as error:
        raise OptionError(f"--bg_upsampler {path}: no network that is known: {error}") from error
    if not isinstance(model, spandrel.ImageModelDescriptor) or model.input_channels != 3:
        raise OptionError(f"--bg_upsampler {path}: is no network from RGB photo to RGB photo")
    return TiledUpsampler(model.eval(), model.scale, tile)


class TiledUpsampler:
    """Owns a spandrel network, RGB [1,3,h,w] in [0,1] in and out, and applies it in tiles."""

    def __init__(self, model: Any, scale: int, tile: int = 400, overlap: int = 16) -> None:
        self.model, self.scale, self.tile, self.overlap = model, scale, tile, overlap

    def enlarge(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 or uint16 [h,w,3] -> the same dtype, `scale` times as large."""
        height, width = rgb.shape[:2]
        tile = self.tile or max(height, width)
        out = np.empty((height * self.scale, width * self.scale, 3), rgb.dtype)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                self._one_tile(rgb, out, top, left, tile)
        return out

    def _one_tile(self, rgb: np.ndarray, out: np.ndarray, top: int, left: int, tile: int) -> None:
        import torch

        height, width = rgb.shape[:2]
        bottom, right = min(top + tile, height), min(left + tile, width)
        # The network sees some pixels more on every side: what it does at its rim is cut away.
        y0, x0 = max(top - self.overlap, 0), max(left - self.overlap, 0)
        y1, x1 = min(bottom + self.overlap, height), min(right + self.overlap, width)
        most = float(np.iinfo(rgb.dtype).max)
        piece = torch.from_numpy(rgb[y0:y1, x0:x1].astype(np.float32) / most)
        with torch.inference_mode():
            large = self.model(piece.permute(2, 0, 1)[None].to(self.model.device))[0]
        s = self.scale
        inner = large[:, (top - y0) * s : (bottom - y0) * s, (left - x0) * s : (right - x0) * s]
        values = inner.permute(1, 2, 0).float().cpu().numpy().clip(0, 1) * most
        out[top * s : bottom * s, left * s : right * s] = np.rint(values).astype(rgb.dtype)


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
    from restore.faces.align import face_mask, scale_matrix
    from restore.faces.colour import add_grain
    from restore.faces.paste import Patch, paste_faces

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
    from restore.faces.paste import detail_trust

    assert face.crop is not None
    if not trust.detail or face.quality is None:
        return 0.0
    ratio = native_side(face) / face.crop.shape[0]
    # The photo's own share of a gentle face comes with all of its detail.
    own = 1 - face.strength if ratio > 1 else 0.0
    return own + face.strength * detail_trust(ratio, face.quality)
