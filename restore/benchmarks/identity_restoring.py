"""Crops of named stores through a restorer at several fidelities, for the identity benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from restore.benchmarks.identity_pairs import CENTRE, ZOOM, as_pixels
from restore.benchmarks.identity_vectors import recipe_at_512
from restore.data.frame import to_ffhq_frame
from restore.degradation.degrade import degrade
from restore.pipeline.policies import in_photo_colours
from restore.pipeline.restorer import find_model_file
from restore.runtime.contract import Runtime
from restore.runtime.select import load_runtime


def open_restorer(model: str, threads: int = 1) -> Runtime:
    """The restorer of a name or file on the CPU."""
    return load_runtime(find_model_file(model), device="cpu", threads=threads)


def framed(crops: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Stored crops [n,c,c,3] in the plain FFHQ frame of `size` px, uint8 [n,size,size,3]."""
    planes = torch.from_numpy(crops.transpose(0, 3, 1, 2).copy())
    return as_pixels(to_ffhq_frame(planes, size, ZOOM, CENTRE)[0])


def worn(faces: NDArray[np.uint8], recipe: str, seeds: Sequence[int]) -> NDArray[np.uint8]:
    """Faces [n,s,s,3] degraded by a recipe, as the restorer gets them."""
    planes = torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1
    return as_pixels(degrade(planes, recipe_at_512(recipe), seeds=list(seeds)).lq)


def restored(runtime: Runtime, lq: NDArray[np.uint8], fidelity: float) -> NDArray[np.uint8]:
    """What goes into the photo: the network's faces in the photo's colours, [n,s,s,3]."""
    found = runtime.run(lq, fidelity)[0]
    return np.stack([in_photo_colours(a, b) for a, b in zip(lq, found, strict=True)])
