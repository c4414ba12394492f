"""What a runtime must know of a model before it runs: crop size and template, from the header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore.checkpoints.named_models import MODELS
from restore.config.model_header import FORMAT, read_header
from restore.errors import CheckpointError
from restore.geometry import ffhq_template

RANGE = "-1..1"


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """`crop_size` in px, `template` [5,2] in crop pixels, and the whole header."""

    crop_size: int
    template: NDArray[np.float64]
    header: Mapping[str, Any]


def read_model_info(path: Path) -> ModelInfo:
    """`ModelInfo` of a model file of ours; raises `CheckpointError` for any other file."""
    header = read_header(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no model file of ours; its format is {header.get('format')!r}, expected "
            f"{FORMAT!r}. `restore export` makes one of a GFPGAN checkpoint"
        )
    return model_info(header, str(path))


def model_info(header: Mapping[str, Any], source: str) -> ModelInfo:
    """`ModelInfo` from a header or from a row of the table of models.

    A header without a template means the plain FFHQ frame. An unknown one raises
    `CheckpointError`, as does another range of pixels than -1..1.
    """
    if "crop_size" not in header:
        raise CheckpointError(f"{source}: its header does not say crop_size")
    size = int(header["crop_size"])
    if header.get("range", RANGE) != RANGE:
        raise CheckpointError(f"{source}: range {header['range']!r} is unknown, expected {RANGE!r}")
    template = header.get("template", {"name": "ffhq512"})
    if not isinstance(template, Mapping) or template.get("name") != "ffhq512":
        raise CheckpointError(f"{source}: template {template!r} is unknown, expected ffhq512")
    try:
        zoom = float(template.get("zoom", 1.0))
        x, y = map(float, template.get("centre", (256, 256)))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: template {template!r} is no frame: {error}") from error
    if not zoom > 0:
        raise CheckpointError(f"{source}: template {template!r} has no zoom above 0")
    return ModelInfo(size, ffhq_template(size, zoom, (x, y)), header)


def row_of_file(model: Path) -> dict[str, Any]:
    """What the table of models says of a published file, known by its name; {} of others."""
    for entry in MODELS.values():
        if not entry.packaged and entry.filename == model.name:
            return dict(entry.config)
    return {}
