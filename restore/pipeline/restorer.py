"""The restorer: a photo in, a photo out; pure, and safe to share between threads."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restore.errors import InputError, OptionError, RestoreError
from restore.faces.detect import Detector
from restore.faces.face import Face
from restore.images.photo import (
    Limits,
    Photo,
    is_tensor,
    photo_from_array,
    photo_from_pil,
    photo_from_tensor,
)
from restore.images.pixels import looks_gray, to_gray, to_rgb, to_uint8
from restore.images.profile import ColourTransform, colour_transform
from restore.pipeline.canvas import (
    Upsampler,
    paste_back,
    resize_alpha,
    resize_background,
    scaled_size,
)
from restore.pipeline.guard import IdentityGuard
from restore.pipeline.network import Cancel, Progress, run_batches, run_faces, stop_if
from restore.pipeline.options import ModelOptions, RestoreOptions, check_fidelity
from restore.pipeline.policies import treat_faces
from restore.pipeline.results import (
    Pixels,
    RestoredFace,
    RestoredPhoto,
    choose_faces,
    photo_status,
)
from restore.runtime.contract import Runtime

if TYPE_CHECKING:
    from restore.trust.identity import IdentityEmbedder, References


@dataclass
class Stopwatch:
    """Seconds of each stage, and since it was made."""

    started: float = field(default_factory=time.perf_counter)
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """`with stopwatch("detect"): ...` notes how long the block took."""
        start = time.perf_counter()
        yield
        self.timings[stage] = time.perf_counter() - start

    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self.started


@dataclass(frozen=True)
class Call:
    """What one call of `restore` asks for, and what goes with it from stage to stage."""

    options: RestoreOptions
    stopwatch: Stopwatch
    references: References | None
    progress: Progress | None
    cancel: Cancel | None
    enlarged: float
    """How many times larger than in the photo the faces will be."""


def as_photo(photo: Any, limits: Limits | None = None) -> Photo:
    """A path, page, file, file's bytes, array, PIL image, torch tensor or Photo as a Photo.

    Raises InputError for anything else, and for files beyond the limits.
    """
    from restore.images.files import MAX_FILE_BYTES, Page, decode_photo, read_photo

    if isinstance(photo, Photo):
        return photo
    if isinstance(photo, (str, os.PathLike)):
        return read_photo(os.fspath(photo), limits)
    if isinstance(photo, Page):
        return read_photo(photo.path, limits, photo.index)
    if isinstance(photo, np.ndarray):
        return photo_from_array(photo)
    if hasattr(photo, "getexif") and hasattr(photo, "convert"):
        return photo_from_pil(photo, limits)
    if is_tensor(photo):
        return photo_from_tensor(photo)
    if hasattr(photo, "read"):
        photo = photo.read(MAX_FILE_BYTES + 1)
        if isinstance(photo, str):
            raise InputError("the photo is a file opened as text; open it with mode 'rb'")
    if isinstance(photo, (bytes, bytearray, memoryview)):
        try:
            if len(photo) > MAX_FILE_BYTES:
                raise InputError(f"has more than {MAX_FILE_BYTES} bytes; make it smaller first")
            return decode_photo(bytes(photo), limits)
        except InputError as error:
            raise InputError(f"the photo {error}") from error.__cause__
    raise InputError(
        "a photo is a path, a file, the bytes of a file, a numpy array, a PIL image or a torch "
        f"tensor; found {type(photo).__name__}"
    )


def to_side(crop: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square crop [h,h,3] at the network's size; averaged down, cubic up."""
    if crop.shape[0] == side:
        return np.ascontiguousarray(crop)
    import cv2

    how = cv2.INTER_AREA if crop.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (side, side), interpolation=how), np.uint8)


_SMALLEST_PHOTO = 16  # px; no face can be found in less


class Restorer:
    """A network and a detector, ready to restore photos.

    Threads: it holds no state of a photo, so one restorer serves any number of threads, if its
    parts do (ours do). The network works with its own threads; more callers than cores only queue.
    In an async program call `restore` in a worker thread (`await asyncio.to_thread(...)`): it
    blocks, and lets other threads run while the network, OpenCV and numpy work.

    Memory: the network (see docs/speed.md), the photo as it came, its 8-bit RGB copy, the result
    (`scale` squared times the photo's pixels), and about 5 MB a face at a crop size of 512. At most
    `max_batch` faces are in the network at once; a pasted face of any size is blended in strips.
    """

    def __init__(
        self,
        runtime: Runtime,
        detector: Detector,
        upsampler: Upsampler | None = None,
        max_batch: int = 4,
        identity: IdentityEmbedder | None = None,
        identity_absent: str | None = "this restorer was made without an identity network",
    ) -> None:
        """`max_batch` faces at most go through the network at once, which bounds its memory.

        `identity` tells persons apart; without it `identity_absent` is the reason that is given.
        """
        self.runtime, self.detector, self.upsampler = runtime, detector, upsampler
        self.max_batch = max_batch
        self.guard = IdentityGuard(identity, runtime.template, identity_absent)

    @classmethod
    def load(
        cls,
        model: str | Path | ModelOptions = "default",
        device: str | None = None,
        backend: str = "auto",
        detector: str = "default",
        **wishes: Any,
    ) -> Restorer:
        """A restorer of a model's name or file, or as `ModelOptions` say.

        `wishes`: the other fields of ModelOptions (`offline`, `threads`, `precision`,
        `bg_upsampler`, `bg_tile`, `identity_network`). Nothing is fetched unless `offline` is
        False. Raises CheckpointError, DeviceError, MissingExtraError, OptionError.
        """
        if isinstance(model, ModelOptions):
            return load_restorer(model)
        named: dict[str, Any] = {"model": model, "device": device, "backend": backend}
        known = {one.name for one in fields(ModelOptions)}
        unknown = sorted(set(wishes) - known)
        if unknown:
            raise OptionError(
                f"{', '.join(unknown)}: no option of a model; expected one of "
                f"{', '.join(sorted(known))}"
            )
        return load_restorer(ModelOptions(**named, detector=detector, **wishes))

    @property
    def crop_size(self) -> int:
        """Side s of the network's crops in px."""
        return self.runtime.crop_size

    @property
    def template(self) -> NDArray[np.float64]:
        """[5,2] points in crop pixels that faces are aligned to."""
        return self.runtime.template

    def references(self, folder: str | Path) -> References:
        """The person in a folder of photos, for `restore(references=...)`.

        Raises InputError where it shows no face, OptionError without an identity network.
        """
        from restore.pipeline.guard import load_references

        return load_references(folder, self.detector, self.guard)

    def restore(
        self,
        photo: str | Path | NDArray[Any] | Photo | Any,
        options: RestoreOptions | None = None,
        *,
        faces: Sequence[Face] | None = None,
        references: References | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        **wishes: Any,
    ) -> RestoredPhoto:
        """Restore the faces of a photo and bring all of it to `scale` times its size.

        `photo`: a path, a file or its bytes, a PIL image, a uint8 or uint16 array [h,w] or [h,w,c]
        in RGB(A) order, or a torch tensor [c,h,w] of uint8 or of floats in [0,1]; the result's
        image is always numpy.
        `options`: see RestoreOptions; `wishes` are its fields as keywords (`scale=1`,
        `fidelity=0.8`, `trust=TrustOptions(...)`), which stand above `options`, and
        `only_center_face`. `faces`: faces that were found elsewhere or corrected by hand, in
        pixels of the upright photo; None looks for them. `references`: other photos of one person
        (`self.references(folder)`): of several fidelities the closest face is taken.
        `progress(done, total)` is called in this thread after each batch of faces; what it raises
        ends the work. `cancel()` is asked before each stage and batch; True raises CancelledError.
        InputError: no photo; OptionError: what is no option or this model cannot do; a face that
        fails is returned as failed.
        """
        stopwatch = Stopwatch()
        options = (options or RestoreOptions()).changed(wishes)
        check_fidelity(options.fidelity, self.runtime.supports_fidelity)
        self.guard.require(options.trust)
        with stopwatch("read"):
            limits = Limits(
                options.max_megapixels,
                1.0 if options.aligned else options.scale,
                options.strict,
            )
            source = as_photo(photo, limits)
        call = Call(options, stopwatch, references, progress, cancel, options.scale)
        if options.aligned:
            return self._restore_aligned(source, call)
        size = scaled_size(*source.size, options.scale)
        rgb, transform = _pixels_of(source)
        stop_if(cancel)
        with stopwatch("detect"):
            found = self._detect(rgb) if faces is None else list(faces)
        chosen = choose_faces(found, options.choice, *source.size)
        with stopwatch("align"):
            chosen = [self._align(rgb, face, transform) for face in chosen]
        chosen, notes = self._restore_crops(chosen, source.size, call)
        stop_if(cancel)
        keep_gray = options.keep_gray
        with stopwatch("background"):
            gray = keep_gray and looks_gray(source.pixels)
            changed = any(face.changed for face in chosen)
            in_colour = source.pixels if gray or not changed else to_rgb(source.pixels)
            canvas = resize_background(in_colour, size, self.upsampler)
            alpha = None if source.alpha is None else resize_alpha(source.alpha, size)
        with stopwatch("paste"):
            colourless = keep_gray and looks_gray(source.pixels, tolerance=0, share=1.0)
            paste_back(
                canvas,
                chosen,
                source.size,
                self.template,
                options.trust,
                transform,
                colourless=colourless,
            )
        canvas_photo = source if canvas.ndim == source.pixels.ndim else replace(source, flat=False)
        image = canvas_photo.joined(canvas, alpha)
        return _photo_result(image, chosen, source, stopwatch, notes)

    def restore_faces(
        self, crops: NDArray[np.uint8], fidelity: float | None = None
    ) -> NDArray[np.uint8]:
        """uint8 RGB crops [n,h,w,3] on the template, any h = w -> uint8 RGB [n,s,s,3].

        They are the network's own: neither colours nor identity are minded, which `restore` does.
        Raises InputError for another shape and RestoreError where a crop fails.
        """
        crops = np.asarray(crops)
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.shape[1] != crops.shape[2]:
            raise InputError(f"crops have shape {list(crops.shape)}; expected [n,h,w,3] with h = w")
        if crops.dtype != np.uint8:
            raise InputError(f"crops are {crops.dtype}; expected uint8")
        side = self.crop_size
        sized = [to_side(crop, side) for crop in crops]
        check_fidelity(RestoreOptions(fidelity=fidelity).fidelity, self.runtime.supports_fidelity)
        dial = 1.0 if fidelity is None else fidelity
        results = run_batches(self.runtime, sized, dial, self.max_batch)
        failed = [f"crop {i}: {result.error}" for i, result in enumerate(results) if result.error]
        if failed:
            raise RestoreError("; ".join(failed))
        restored = [result.restored for result in results if result.restored is not None]
        return np.stack(restored) if restored else np.zeros((0, side, side, 3), np.uint8)

    def _detect(self, rgb: NDArray[np.uint8]) -> Sequence[Face]:
        if min(rgb.shape[:2]) < _SMALLEST_PHOTO:
            return []
        return self.detector.detect(rgb)

    def _align(
        self, rgb: NDArray[np.uint8], face: RestoredFace, transform: ColourTransform | None
    ) -> RestoredFace:
        from restore.faces.align import align_face
        from restore.pipeline.policies import examine

        if face.status != "restored":
            return face
        try:
            aligned = align_face(rgb, face.landmarks, self.template, self.crop_size)
        except RestoreError as error:
            return replace(face, status="failed", reason=str(error))
        crop = aligned.crop if transform is None else transform.to_srgb(aligned.crop)
        return examine(replace(face, crop=crop, matrix=aligned.matrix), rgb, self.template)

    def _restore_crops(
        self, faces: list[RestoredFace], photo_size: tuple[int, int], call: Call
    ) -> tuple[list[RestoredFace], tuple[str, ...]]:
        """Aligned faces through the network and what guards the person; and notes."""

        def again(some: Sequence[RestoredFace]) -> list[RestoredFace]:
            return run_faces(self.runtime, some, 1.0, self.max_batch, None, call.cancel)

        with call.stopwatch("network"):
            faces = run_faces(
                self.runtime,
                faces,
                call.options.fidelity,
                self.max_batch,
                call.progress,
                call.cancel,
            )
            if call.references is not None:
                from restore.pipeline.guard import choose_by_references

                faces = choose_by_references(
                    self.runtime, faces, call.references, self.guard, self.max_batch, call.cancel
                )
        with call.stopwatch("trust"):
            redo = again if self.runtime.supports_fidelity else None
            return treat_faces(
                faces,
                photo_size,
                self.guard,
                call.options.trust,
                call.options.keep_gray,
                redo,
                call.enlarged,
            )

    def _restore_aligned(self, source: Photo, call: Call) -> RestoredPhoto:
        from restore.pipeline.policies import examine

        width, height = source.size
        if width != height:
            raise InputError(
                f"an aligned crop is square, this photo is {width} x {height}; "
                "leave aligned (--aligned) out for whole photos"
            )
        rgb, transform = _pixels_of(source)
        crop = to_side(rgb, self.crop_size)
        crop = crop if transform is None else transform.to_srgb(crop)
        scale = self.crop_size / width
        matrix = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]])
        landmarks = (self.template + 0.5) / scale - 0.5
        box = np.array([0, 0, width - 1, height - 1], np.float64)
        face = RestoredFace(box, landmarks, 1.0, "restored", crop=crop, matrix=matrix)
        call = replace(call, enlarged=max(scale, 1.0))
        faces, notes = self._restore_crops([examine(face, rgb, self.template)], source.size, call)
        image = crop if faces[0].restored is None else faces[0].restored
        image = image if transform is None else transform.from_srgb(image)
        if call.options.keep_gray and looks_gray(source.pixels, tolerance=0, share=1.0):
            image = to_gray(image)
            if source.pixels.ndim == 2:
                image = np.ascontiguousarray(image[:, :, :1])
        if source.alpha is not None:
            notes = (*notes, "alpha is not kept in aligned crops")
        return _photo_result(image, faces, source, call.stopwatch, notes)


def _pixels_of(source: Photo) -> tuple[NDArray[np.uint8], ColourTransform | None]:
    """The photo's pixels as uint8 RGB, and how they become sRGB; None where they are that."""
    transform = None if source.pixels.ndim == 2 else colour_transform(source.metadata.icc)
    return to_rgb(to_uint8(source.pixels)), transform


def _photo_result(
    image: Pixels,
    faces: list[RestoredFace],
    source: Photo,
    stopwatch: Stopwatch,
    notes: tuple[str, ...],
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
        source.notes + notes,
    )


MAX_THREADS = 1024
"""Most threads of a network; each has a stack of its own."""


def find_model_file(model: str | Path, offline: bool = True) -> Path:
    """The file of a model: a path as it is, a name through the table of models.

    With `offline` nothing is fetched. Raises CheckpointError with what to do.
    """
    from restore.checkpoints.named_models import download_model, locate_model

    path = Path(model)
    if path.is_file():
        return path
    if offline:
        return locate_model(str(model))
    return download_model(str(model), offline=False)


def load_restorer(options: ModelOptions | None = None) -> Restorer:
    """What `options` name, loaded. See `Restorer.load`."""
    from restore.faces.detect import load_detector
    from restore.pipeline.canvas import load_upsampler
    from restore.runtime.select import load_runtime
    from restore.trust.occlusion import packaged_occlusion_detector

    options = options or ModelOptions()
    path = find_model_file(options.model, options.offline)
    packaged_occlusion_detector()  # a missing file is said now, not at the first face
    upsampler = None
    if options.bg_upsampler is not None:
        upsampler = load_upsampler(options.bg_upsampler, options.bg_tile, options.device)
    # Both spend their time in native code: on two cores the first photo starts earlier.
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(
            load_runtime,
            path,
            options.backend,
            options.device,
            options.threads,
            options.precision,
        )
        found = load_detector(options.detector)
        runtime = loading.result()
    embedder, absent = find_identity(options.identity_network)
    return Restorer(runtime, found, upsampler, identity=embedder, identity_absent=absent)


def find_identity(
    network: str | Path | None = None,
) -> tuple[IdentityEmbedder | None, str | None]:
    """The packaged identity network or one by its file, and why there is none.

    A packaged one that is not there or broken is only told; for a file that was asked for
    CheckpointError or MissingExtraError is raised. Its weights are read when first used.
    """
    from restore.errors import CheckpointError

    if network is not None:
        from restore.runtime.identity import load_identity

        return load_identity(network), None
    try:
        from restore.trust.identity import IdentityNetwork

        return IdentityNetwork.load(), None
    except CheckpointError as error:
        return None, str(error)
