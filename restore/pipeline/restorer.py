"""The restorer: a photo in, a photo out; pure, and safe to share between threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError, OptionError, RestoreError
from restore.faces.face import Face
from restore.images.depth import looks_gray, to_gray, to_rgb, to_uint8
from restore.images.photo import Photo, photo_from_array, photo_from_pil
from restore.images.profile import ColourTransform, colour_transform
from restore.pipeline.background import Upsampler, resize_alpha, resize_background, scaled_size
from restore.pipeline.choice import FaceChoice, choose_faces, photo_status
from restore.pipeline.contracts import Detector, Runtime
from restore.pipeline.network_batches import CropResult, Progress, run_batches
from restore.pipeline.paste_back import paste_back
from restore.pipeline.results import Pixels, RestoredFace, RestoredPhoto
from restore.pipeline.stopwatch import Stopwatch

_SMALLEST_PHOTO = 16  # px; no face can be found in less


class Restorer:
    """A network and a detector, ready to restore photos."""

    def __init__(
        self,
        runtime: Runtime,
        detector: Detector,
        upsampler: Upsampler | None = None,
        max_batch: int = 4,
    ) -> None:
        """`max_batch` faces at most go through the network at once, which bounds its memory."""
        self.runtime, self.detector, self.upsampler = runtime, detector, upsampler
        self.max_batch = max_batch

    @classmethod
    def load(
        cls,
        model: str | Path = "default",
        device: str | None = None,
        backend: str = "auto",
        detector: str = "default",
        *,
        offline: bool = True,
        threads: int | None = None,
        bg_upsampler: str | Path | None = None,
        bg_tile: int = 400,
    ) -> Restorer:
        """A restorer of a model's name or file. Nothing is fetched unless `offline` is False.

        `backend`: "auto", "onnxruntime", "openvino" or "torch"; `device`: such as "cpu", "cuda:0";
        `detector`: a name or file (`restore.faces.detect`); `threads`: of the network, None for the
        backend's own choice. Raises CheckpointError, DeviceError, MissingExtraError, OptionError.
        """
        from restore.pipeline.assemble import load_restorer

        return load_restorer(
            model, device, backend, detector, offline, threads, bg_upsampler, bg_tile
        )

    @property
    def crop_size(self) -> int:
        """Side s of the network's crops in px."""
        return self.runtime.crop_size

    @property
    def template(self) -> NDArray[np.float64]:
        """[5,2] points in crop pixels that faces are aligned to."""
        return self.runtime.template

    def restore(
        self,
        photo: str | Path | NDArray[Any] | Photo | Any,
        *,
        scale: float = 2.0,
        fidelity: float | None = None,
        aligned: bool = False,
        keep_gray: bool = True,
        only_center_face: bool = False,
        choice: FaceChoice | None = None,
        progress: Progress | None = None,
    ) -> RestoredPhoto:
        """Restore the faces of a photo and bring all of it to `scale` times its size.

        `photo`: a path, a PIL image, or a uint8 or uint16 array [h,w] or [h,w,c] in RGB(A) order.
        `fidelity` in [0,1], None for 1: at 1 the photo leads, at 0 the prior paints.
        `aligned`: the photo is one square crop on the template; the result is the restored crop.
        `keep_gray`: a black-and-white photo keeps faces without colour.
        `progress(done, total)` is called after each batch of faces; what it raises ends the work.
        Raises InputError for what is no photo; a face that fails is returned as failed.
        """
        stopwatch = Stopwatch()
        with stopwatch("read"):
            source = _as_photo(photo)
        strength = self._fidelity(fidelity)
        if aligned:
            return self._restore_aligned(source, strength, keep_gray, stopwatch)
        size = scaled_size(*source.size, scale)
        gray = keep_gray and looks_gray(source.pixels)
        transform = None if source.pixels.ndim == 2 else colour_transform(source.metadata.icc)
        rgb = to_rgb(to_uint8(source.pixels))
        with stopwatch("detect"):
            found = self._detect(rgb)
        chosen = choice or FaceChoice()
        chosen = replace(chosen, only_center_face=chosen.only_center_face or only_center_face)
        faces = choose_faces(found, chosen, *source.size)
        with stopwatch("align"):
            faces = [self._align(rgb, face, transform) for face in faces]
        with stopwatch("network"):
            faces = self._run(faces, strength, gray, progress)
        with stopwatch("background"):
            in_colour = source.pixels if gray or not faces else to_rgb(source.pixels)
            canvas = resize_background(in_colour, size, self.upsampler)
            alpha = None if source.alpha is None else resize_alpha(source.alpha, size)
        with stopwatch("paste"):
            paste_back(canvas, faces, source.size, self.template, transform)
        canvas_photo = source if canvas.ndim == source.pixels.ndim else replace(source, flat=False)
        image = canvas_photo.joined(canvas, alpha)
        return _photo_result(image, faces, source, stopwatch)

    def restore_faces(
        self, crops: NDArray[np.uint8], fidelity: float | None = None
    ) -> NDArray[np.uint8]:
        """uint8 RGB crops [n,h,w,3] on the template, any h = w -> uint8 RGB [n,s,s,3].

        Raises InputError for another shape and RestoreError where a crop fails.
        """
        crops = np.asarray(crops)
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.shape[1] != crops.shape[2]:
            raise InputError(f"crops have shape {list(crops.shape)}; expected [n,h,w,3] with h = w")
        if crops.dtype != np.uint8:
            raise InputError(f"crops are {crops.dtype}; expected uint8")
        side = self.crop_size
        sized = [_to_side(crop, side) for crop in crops]
        results = run_batches(self.runtime, sized, self._fidelity(fidelity), self.max_batch)
        failed = [f"crop {i}: {result.error}" for i, result in enumerate(results) if result.error]
        if failed:
            raise RestoreError("; ".join(failed))
        restored = [result.restored for result in results if result.restored is not None]
        return np.stack(restored) if restored else np.zeros((0, side, side, 3), np.uint8)

    def _fidelity(self, fidelity: float | None) -> float:
        if fidelity is None:
            return 1.0
        if not 0 <= fidelity <= 1:
            raise OptionError(f"fidelity is {fidelity}; expected a number from 0 to 1")
        if not self.runtime.supports_fidelity:
            raise OptionError("this model has no fidelity dial; leave fidelity (-w) out")
        return float(fidelity)

    def _detect(self, rgb: NDArray[np.uint8]) -> Sequence[Face]:
        if min(rgb.shape[:2]) < _SMALLEST_PHOTO:
            return []
        return self.detector.detect(rgb)

    def _align(
        self, rgb: NDArray[np.uint8], face: RestoredFace, transform: ColourTransform | None
    ) -> RestoredFace:
        from restore.faces.align import align_face

        if face.status != "restored":
            return face
        try:
            aligned = align_face(rgb, face.landmarks, self.template, self.crop_size)
        except RestoreError as error:
            return replace(face, status="failed", reason=str(error))
        crop = aligned.crop if transform is None else transform.to_srgb(aligned.crop)
        return replace(face, crop=crop, matrix=aligned.matrix)

    def _run(
        self,
        faces: list[RestoredFace],
        fidelity: float,
        gray: bool,
        progress: Progress | None = None,
    ) -> list[RestoredFace]:
        crops = [face.crop for face in faces if face.crop is not None]
        results = iter(run_batches(self.runtime, crops, fidelity, self.max_batch, progress))
        return [
            face if face.crop is None else _with_result(face, next(results), gray) for face in faces
        ]

    def _restore_aligned(
        self, source: Photo, fidelity: float, keep_gray: bool, stopwatch: Stopwatch
    ) -> RestoredPhoto:
        width, height = source.size
        if width != height:
            raise InputError(
                f"an aligned crop is square, this photo is {width} x {height}; "
                "leave aligned (--aligned) out for whole photos"
            )
        transform = None if source.pixels.ndim == 2 else colour_transform(source.metadata.icc)
        crop = _to_side(to_rgb(to_uint8(source.pixels)), self.crop_size)
        crop = crop if transform is None else transform.to_srgb(crop)
        landmarks = (self.template + 0.5) * (width / self.crop_size) - 0.5
        box = np.array([0, 0, width - 1, height - 1], np.float64)
        face = RestoredFace(box, landmarks, 1.0, "restored", crop=crop)
        with stopwatch("network"):
            faces = self._run([face], fidelity, keep_gray and looks_gray(source.pixels))
        image = crop if faces[0].restored is None else faces[0].restored
        image = image if transform is None else transform.from_srgb(image)
        if source.pixels.ndim == 2 and keep_gray:
            image = np.ascontiguousarray(image[:, :, :1])
        lost = ("alpha is not kept in aligned crops",) if source.alpha is not None else ()
        source = replace(source, notes=source.notes + lost)
        return _photo_result(image, faces, source, stopwatch)


def _as_photo(photo: Any) -> Photo:
    if isinstance(photo, Photo):
        return photo
    if isinstance(photo, (str, Path)):
        from restore.images.files import read_photo

        return read_photo(photo)
    if isinstance(photo, np.ndarray):
        return photo_from_array(photo)
    if hasattr(photo, "getexif") and hasattr(photo, "convert"):
        return photo_from_pil(photo)
    raise InputError(
        f"a photo is a path, a numpy array or a PIL image; found {type(photo).__name__}"
    )


def _to_side(crop: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square crop [h,h,3] at the network's size; averaged down, cubic up."""
    if crop.shape[0] == side:
        return np.ascontiguousarray(crop)
    import cv2

    how = cv2.INTER_AREA if crop.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (side, side), interpolation=how), np.uint8)


def _with_result(face: RestoredFace, result: CropResult, gray: bool) -> RestoredFace:
    if result.restored is None:
        return replace(face, status="failed", reason=result.error)
    restored = to_gray(result.restored) if gray else result.restored
    if result.estimate is None:
        return replace(face, restored=restored)
    from restore.degradation.units import target_to_units

    units = target_to_units(result.estimate[None])
    estimate = {name: float(values[0]) for name, values in units.items()}
    return replace(face, restored=restored, degradation=estimate)


def _photo_result(
    image: Pixels, faces: list[RestoredFace], source: Photo, stopwatch: Stopwatch
) -> RestoredPhoto:
    status, reason = photo_status(faces)
    return RestoredPhoto(
        image,
        tuple(faces),
        status,
        reason,
        stopwatch.seconds(),
        stopwatch.timings,
        source.metadata.upright(image.shape[1], image.shape[0]),
        source.notes,
    )
