"""What is measured: held-out faces under fixed recipes and seeds, and restorers of any backend."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restore.checkpoints.load import load_network
from restore.checkpoints.named_models import MODELS, locate_model
from restore.data.frame import to_ffhq_frame
from restore.data.stores import Store, open_store
from restore.degradation.degrade import degrade, draw_stages
from restore.degradation.draws import draws_from
from restore.degradation.recipe import RECIPES, Recipe
from restore.degradation.resize import resize_matrix
from restore.errors import CheckpointError, InputError
from restore.geometry import ffhq_template
from restore.metrics.table import rounded_to_bytes
from restore.model_files import FORMAT, read_header
from restore.networks.prior_restorer import Encoding, PriorRestorer
from restore.runtime.contract import Runtime, model_info
from restore.runtime.select import load_runtime

SIZES = (64, 128, 256, 512)
"""px of the frame; those below 512 are made of the crops of 256 px."""
REFERENCE_SIZE = 512
"""A recipe's pixels are those of a crop of this size, so that a 256 px crop is degraded as much as
the 512 px one of its photo."""
_RIDGE = 1e-3
"""Weight of the smoothness of `small_picture`: enough where the factor is close to 1 and the
enlargement nearly blind to a checkerboard, too little to be seen elsewhere."""


@dataclass(frozen=True)
class ProtocolFaces:
    """Crops by name, and the size in px of the FFHQ frame that they are put into."""

    store: Store
    names: tuple[str, ...]
    size: int
    set_name: str

    def framed(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(gt [n,3,s,s] RGB in [-1,1] on the 8-bit grid, mask [n,1,s,s]: 0 in the border)."""
        framed = [to_ffhq_frame(planes(self.store.image(name)[None]), self.size) for name in names]
        images = torch.cat([image for image, _ in framed])
        return rounded_to_bytes(images), torch.cat([mask for _, mask in framed])


@dataclass(frozen=True)
class Batch:
    """`lq`, `gt` [n,3,s,s] RGB in [-1,1]; `mask` [n,1,s,s]; `truth` [n,6] in the units of the
    degradation head; `bicubic` [n,3,s,s]: what a viewer would do without a restorer."""

    names: tuple[str, ...]
    lq: Tensor
    gt: Tensor
    mask: Tensor
    truth: Tensor
    bicubic: Tensor


def open_faces(
    folder: Path, size: int, count: int | None = None, part: str = "val", without: int = 0
) -> ProtocolFaces:
    """The set of that size in `folder`; `count` faces spread evenly over the sorted names, or all.

    `without`: the faces that this count would choose are left out first.
    Raises `InputError` where the folder or its tar is missing.
    """
    if size not in SIZES:
        raise InputError(f"size {size}: expected one of {', '.join(map(str, SIZES))} px")
    path = folder / f"faces{max(size, 256)}-{part}.tar"
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {path.name}; it is needed for --size {size}: a tar of square "
            "crops on the FFHQ template zoomed 1.2"
        )
    store = open_store(path, "tar")
    names = sorted(store.keys)
    if without:
        seen = set(spread(names, without))
        names = [name for name in names if name not in seen]
    return ProtocolFaces(store, spread(names, count), size, path.stem)


def spread(names: Sequence[str], count: int | None) -> tuple[str, ...]:
    """`count` names at even distances (they are sorted by source), all when None or more."""
    if count is None or count >= len(names):
        return tuple(names)
    if count < 1:
        raise InputError(f"count {count}: expected 1 face or more")
    return tuple(names[i * len(names) // count] for i in range(count))


def protocol_recipe(name: str) -> Recipe:
    """A named recipe, its pixels those of a 512 px crop, without colour jitter.

    The jitter of training shifts colours at random: no restorer can know by how much, so it would
    measure luck. Raises `InputError` for another name, with the known ones.
    """
    if name not in RECIPES:
        raise InputError(f"recipe {name!r}: expected one of {', '.join(RECIPES)}")
    return replace(
        RECIPES[name],
        reference_size=REFERENCE_SIZE,
        color_jitter_prob=0.0,
        color_jitter_pt_prob=0.0,
    )


def seed_of(recipe: str, face: str) -> int:
    """The seed of one face under one recipe, whatever the batch, count or order."""
    return zlib.crc32(f"{recipe}/{face}".encode())


def batches(faces: ProtocolFaces, recipe: str, batch_size: int) -> Iterator[Batch]:
    """The degraded faces of a recipe, in order.

    Bicubic is the small degraded picture, enlarged by cubics. A recipe of several passes ends in
    an enlargement of its own choice: there it is the degraded picture as it is.
    """
    kind = protocol_recipe(recipe)
    once = kind.second is None and kind.final_sinc_prob == 0
    for start in range(0, len(faces.names), batch_size):
        names = faces.names[start : start + batch_size]
        good, mask = faces.framed(names)
        seeds = [seed_of(recipe, name) for name in names]
        done = degrade(good, kind, seeds=seeds)
        enlarged = done.lq
        if once:
            draws = draws_from(len(names), None, seeds)
            stage = draw_stages(kind, draws, (faces.size, faces.size))[0]
            small = [
                small_picture(lq, (int(h), int(w)), kind.upsample_modes[0])
                for lq, h, w in zip(done.lq, stage.height, stage.width, strict=True)
            ]
            enlarged = planes(np.stack([resized(one, faces.size) for one in small]))
            enlarged = enlarged.float() / 127.5 - 1
        yield Batch(names, done.lq, done.gt, mask, done.truth.as_target(), enlarged)


def small_picture(lq: Tensor, size: tuple[int, int], mode: str = "bilinear") -> np.ndarray:
    """The picture (height, width) that was enlarged to `lq` [3,h,w] RGB in [-1,1]: uint8 [h,w,3].

    An enlargement by `mode` is a linear map with more rows than columns: least squares undo it, but
    for the rounding to 8 bit. Where the small picture was not smaller, `lq` itself is returned.
    """
    height, width = lq.shape[-2:]
    x = lq.double()
    if size[0] < height:
        x = _inverse(mode, size[0], height) @ x
    if size[1] < width:
        x = x @ _inverse(mode, size[1], width).T
    found: np.ndarray = pixels(x[None])[0]
    return found


def _inverse(mode: str, small: int, large: int) -> Tensor:
    """Float64 `[small, large]`: least squares with a little smoothness."""
    enlarge = resize_matrix(mode, small, large).double()
    bend = torch.eye(small, dtype=torch.float64).diff(n=2, dim=0) if small > 2 else enlarge[:0]
    normal = enlarge.T @ enlarge + _RIDGE * bend.T @ bend
    return torch.cholesky_solve(enlarge.T, torch.linalg.cholesky(normal))


def planes(crops: np.ndarray) -> Tensor:
    """uint8 [n,h,w,3] -> uint8 [n,3,h,w]."""
    return torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))


def pixels(images: Tensor) -> np.ndarray:
    """[n,3,h,w] in [-1,1] -> uint8 RGB [n,h,w,3]."""
    rounded = (images.clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(0, 2, 3, 1).cpu().numpy())


def resized(crop: np.ndarray, side: int, enlarge: int = cv2.INTER_CUBIC) -> np.ndarray:
    """A crop [s,s,3] at another side in px: averaged down, or enlarged by that way of OpenCV's."""
    if crop.shape[:2] == (side, side):
        return crop
    how = cv2.INTER_AREA if len(crop) > side else enlarge
    return np.asarray(cv2.resize(crop, (side, side), interpolation=how))


def markdown(heads: Sequence[str], body: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its first column to the left, the others to the right."""
    lines = [list(heads), ["---", *["---:"] * (len(heads) - 1)]]
    lines += [[str(cell) for cell in row] for row in body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True)
class Painted:
    """One batch at each fidelity: `images` [n,3,s,s] at the size of lq.

    `degradation` [n,6]: raw head output, None where the model has no head.
    """

    images: list[Tensor]
    degradation: Tensor | None = None


class RestorerModel(Protocol):
    """A restorer under its label."""

    label: str

    def restore(self, lq: Tensor, fidelities: Sequence[float]) -> Painted:
        """lq [n,3,s,s] RGB in [-1,1] of any size -> the same size."""
        ...


class TorchModel:
    """A `PriorRestorer` in torch; one pass of the encoder serves every fidelity."""

    def __init__(self, label: str, network: PriorRestorer, crop_size: int) -> None:
        self.label, self.crop_size = label, crop_size
        self._network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def restore(self, lq: Tensor, fidelities: Sequence[float]) -> Painted:
        device = next(self._network.parameters()).device
        seen = rounded_to_bytes(_resized(lq, self.crop_size))
        encoding: Encoding = self._network.encoder(
            seen.to(device, memory_format=torch.channels_last)
        )
        decoder: Any = self._network.decoder
        images = []
        for fidelity in fidelities:
            conditions = self._network.dialled(encoding.conditions, fidelity)
            image = decoder.synthesis(encoding.w_plus, conditions, self.crop_size)
            images.append(_resized(image.clamp(-1, 1).float().cpu(), lq.shape[-1]))
        degradation = encoding.degradation
        return Painted(images, None if degradation is None else degradation.float().cpu())


class RuntimeModel:
    """A model file behind one of the runtimes, as the pipeline runs it."""

    def __init__(self, label: str, runtime: Runtime) -> None:
        self.label, self._runtime = label, runtime

    def restore(self, lq: Tensor, fidelities: Sequence[float]) -> Painted:
        crops = pixels(_resized(lq, self._runtime.crop_size))
        images, degradation = [], None
        for fidelity in fidelities:
            restored, degradation = self._runtime.run(crops, fidelity)
            images.append(_resized(planes(restored).float() / 127.5 - 1, lq.shape[-1]))
        return Painted(images, None if degradation is None else torch.from_numpy(degradation))


def load_models(
    given: Sequence[str], backend: str = "torch", device: str = "cpu", threads: int | None = None
) -> list[RestorerModel]:
    """Restorers from files or names, each as FILE or LABEL=FILE.

    Raises `CheckpointError` for what is no restorer of plain FFHQ crops, or labels that repeat.
    """
    models: list[RestorerModel] = []
    for text in given:
        label, equals, target = text.partition("=")
        if not equals or Path(text).exists():
            label, target = (text if text in MODELS else Path(text).stem), text
        if label in [model.label for model in models]:
            raise CheckpointError(
                f"two models are labelled {label!r}; name them by LABEL=FILE, each its own"
            )
        models.append(_load(label, target, backend, device, threads))
    return models


def _load(label: str, target: str, backend: str, device: str, threads: int | None) -> RestorerModel:
    named = target in MODELS and not Path(target).is_file()
    path = locate_model(target) if named else Path(target)
    if backend != "torch":
        runtime = load_runtime(
            path, backend, None if device == "cpu" else device, threads, "float32"
        )
        _check_template(path, runtime.template, runtime.crop_size)
        return RuntimeModel(label, runtime)
    network = load_network(target, device)
    if not isinstance(network, PriorRestorer):
        raise CheckpointError(
            f"{path} holds a {type(network).__name__}, which restores no faces; give a restorer"
        )
    crop_size = int(network.decoder.out_size)
    if path.suffix == ".safetensors" and read_header(path).get("format") == FORMAT:
        info = model_info(read_header(path), str(path))
        crop_size = info.crop_size
        _check_template(path, info.template, crop_size)
    return TorchModel(label, network.to(memory_format=torch.channels_last), crop_size)


def _check_template(path: Path, template: np.ndarray, crop_size: int) -> None:
    if not np.allclose(template, ffhq_template(crop_size), atol=1e-3 * crop_size):
        raise CheckpointError(
            f"{path} reads crops on another template than the plain FFHQ frame, in which the "
            "protocol holds its faces; it cannot be compared here"
        )


def _resized(images: Tensor, size: int) -> Tensor:
    """Square pictures [n,3,s,s]: enlarged bilinearly, shrunk by area, or as they are."""
    if images.shape[-1] == size:
        return images
    if images.shape[-1] > size:
        return F.interpolate(images, (size, size), mode="area")
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
