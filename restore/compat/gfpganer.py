"""GFPGAN's class as photo apps call it (BGR in, BGR out), over a Restorer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from restore.errors import InputError
from restore.images.pixels import to_rgb
from restore.pipeline.options import FaceChoice, ModelOptions, RestoreOptions
from restore.pipeline.restorer import Restorer

_log = logging.getLogger(__name__)


class RealEsrganer(Protocol):
    """What GFPGAN takes as `bg_upsampler`: Real-ESRGAN's RealESRGANer."""

    def enhance(self, img: np.ndarray, outscale: float) -> tuple[np.ndarray, Any]:
        """BGR uint8 [h,w,3] -> (BGR uint8, enlarged by outscale; mode)."""
        ...


class GFPGANer:
    """Drop-in for `gfpgan.GFPGANer`; safe to share between threads, which GFPGAN's is not."""

    def __init__(
        self,
        model_path: str | Path = "default",
        upscale: float = 2,
        arch: str = "clean",
        channel_multiplier: int = 2,
        bg_upsampler: RealEsrganer | None = None,
        device: Any = None,
        *,
        restorer: Restorer | None = None,
    ) -> None:
        """`model_path`: a file or a name; `arch` and `channel_multiplier` are read from the file.

        `restorer`: one that is loaded already, instead of a model. Nothing is ever downloaded.
        """
        self.upscale = upscale
        if restorer is None:
            named = None if device is None else str(device)
            restorer = Restorer.load(ModelOptions(model=model_path, device=named))
        if bg_upsampler is not None:
            around = _Background(bg_upsampler, upscale)
            restorer = Restorer(
                restorer.runtime, restorer.detector, around, max_batch=restorer.max_batch
            )
        self.restorer = restorer

    def enhance(
        self,
        img: np.ndarray | str | Path,
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: float | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None]:
        """(crops that went in, restored crops, restored photo): BGR uint8 [s,s,3], BGR(A) [h,w,c].

        `img`: BGR(A) or gray, uint8 or uint16, or a path. `has_aligned`: it is one aligned crop;
        the photo is then None, as it is without `paste_back`. `weight`: fidelity in [0,1]; GFPGAN's
        own code ignores it, so it counts as 1 where it is left out or the model has no such dial
        (with a warning). A face that fails is left out of both lists, with a warning.
        """
        photo = img if isinstance(img, (str, Path)) else _swap(_checked(img))
        if weight is not None and not self.restorer.runtime.supports_fidelity:
            _log.warning("this model has no fidelity dial: weight %s is not used", weight)
            weight = None
        if has_aligned and not isinstance(photo, (str, Path)):
            photo = _square(photo, self.restorer.crop_size)
        options = RestoreOptions(
            scale=self.upscale,
            fidelity=weight,
            aligned=has_aligned,
            choice=FaceChoice(only_center_face=only_center_face),
        )
        result = self.restorer.restore(photo, options)
        crops, restored = [], []
        for face in result.faces:
            if face.crop is not None and face.restored is not None:
                crops.append(_swap(face.crop))
                restored.append(_swap(face.restored))
            elif face.status == "failed":
                _log.warning("a face failed: %s", face.reason)
        image = None if has_aligned or not paste_back else _swap(result.image)
        return crops, restored, image


class _Background:
    """Real-ESRGAN's object as our `Upsampler`; BGR stays in here."""

    def __init__(self, upsampler: RealEsrganer, upscale: float) -> None:
        self.upsampler, self.upscale = upsampler, upscale

    def enlarge(self, rgb: np.ndarray) -> np.ndarray:
        return _swap(self.upsampler.enhance(_swap(rgb), outscale=self.upscale)[0])


def _checked(image: Any) -> np.ndarray:
    """The array that a caller gave; InputError for what is none, or has other channels."""
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"img is {type(image).__name__}; expected an array [h,w] or [h,w,c], BGR(A) or gray, "
            "or a path (cv2.imread returns None for a file that it cannot read)"
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise InputError(
            f"img has shape {list(image.shape)}; expected [h,w], [h,w,1], BGR [h,w,3] or BGRA "
            "[h,w,4]"
        )
    return image


def _swap(image: np.ndarray) -> np.ndarray:
    """BGR(A) <-> RGB(A), contiguous; gray [h,w] or [h,w,1] becomes three channels as in GFPGAN."""
    if image.ndim == 2 or image.shape[2] == 1:
        return to_rgb(image if image.ndim == 2 else image[:, :, 0])
    order = [2, 1, 0, 3][: image.shape[2]]
    return np.ascontiguousarray(image[:, :, order])


def _square(image: np.ndarray, side: int) -> np.ndarray:
    """GFPGAN resizes whatever it is told to be aligned."""
    import cv2

    if image.shape[0] == image.shape[1]:
        return image
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
