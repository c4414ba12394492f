"""The models that have a name: where each is, how it is checked, its licence, how it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from restore.errors import CheckpointError

_RELEASES = "https://github.com/TencentARC/GFPGAN/releases/download"
_GFPGAN_LICENCE = (
    "repository Apache-2.0; weights carry no licence of their own and build on StyleGAN2 "
    "(NVIDIA, non-commercial) and FFHQ (CC BY-NC-SA 4.0)"
)
_FFHQ_CROP: Mapping[str, Any] = {
    "crop_size": 512,
    "template": {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]},
    "range": "-1..1",
}


@dataclass(frozen=True)
class ModelEntry:
    """A row of `MODELS`.

    `packaged`: file name in `restore/weights`; else `url` and `filename` in the cache. `sha256`
    None: not known for certain, so the first download pins it. `config`: what the file itself does
    not say (crop_size, template, range, and arguments that no tensor tells).
    """

    filename: str
    licence: str
    packaged: bool = False
    url: str | None = None
    sha256: str | None = None
    part: str | None = None  # attribute of the loaded network that the name means
    config: Mapping[str, Any] = field(default_factory=dict)


MODELS: dict[str, ModelEntry] = {
    "default": ModelEntry("default.safetensors", "see the file's header", packaged=True),
    "default-prior": ModelEntry(
        "default.safetensors", "see the file's header", packaged=True, part="decoder"
    ),
    "gfpgan-v1": ModelEntry(
        "GFPGANv1.pth",
        _GFPGAN_LICENCE,
        url=f"{_RELEASES}/v0.1.0/GFPGANv1.pth",
        config={**_FFHQ_CROP, "resample": "fir"},
    ),
    "gfpgan-v1.2": ModelEntry(
        "GFPGANCleanv1-NoCE-C2.pth",
        _GFPGAN_LICENCE,
        url=f"{_RELEASES}/v0.2.0/GFPGANCleanv1-NoCE-C2.pth",
        config=_FFHQ_CROP,
    ),
    "gfpgan-v1.3": ModelEntry(
        "GFPGANv1.3.pth",
        _GFPGAN_LICENCE,
        url=f"{_RELEASES}/v1.3.0/GFPGANv1.3.pth",
        sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        config=_FFHQ_CROP,
    ),
    "gfpgan-v1.4": ModelEntry(
        "GFPGANv1.4.pth",
        _GFPGAN_LICENCE,
        url=f"{_RELEASES}/v1.3.0/GFPGANv1.4.pth",
        sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        config=_FFHQ_CROP,
    ),
    "stylegan2-ffhq512-c1": ModelEntry(
        "StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth",
        "trained on FFHQ (CC BY-NC-SA 4.0)",
        url=f"{_RELEASES}/v0.1.0/StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth",
        config={"resample": "fir"},
    ),
}


def find_model(name: str) -> ModelEntry:
    """The row of a name; an unknown one raises `CheckpointError` with the known ones."""
    if name not in MODELS:
        raise CheckpointError(
            f"There is no file and no model named {name!r}; named models: {', '.join(MODELS)}"
        )
    return MODELS[name]
