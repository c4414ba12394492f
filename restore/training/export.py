"""The newest averaged weights as a model file that the rest of the program reads."""

from __future__ import annotations

import json
from typing import Any

import torch

from restore.checkpoints.model_file import save_model_file
from restore.options.networks import MobileRestorerOptions
from restore.options.schema import Options
from restore.training.build_networks import architecture_of
from restore.training.experiment_folder import ExperimentFolder
from restore.training.progress import Progress
from restore.training.task import Task


def export_latest(
    options: Options, task: Task, folder: ExperimentFolder, progress: Progress, digest: str
) -> None:
    """Write models/net_g_latest.safetensors: averaged weights in float32 with their header.

    Networks of plugins have no place in such a file; their .pth are all there is. `digest`:
    SHA-256 of the resolved options.
    """
    named = architecture_of(options.network_g)
    if named is None:
        return
    size = named[1].get("crop_size", named[1].get("out_size"))
    card = (
        f"# {options.name}\n\nA training in progress: {progress.images} images, "
        f"{progress.step} steps, {progress.seconds / 3600:.2f} h. Averaged weights.\n"
    )
    header: dict[str, Any] = {
        "architecture": named[0],
        "arguments": json.loads(json.dumps(named[1])),
        "template": {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]},
        "range": "-1..1",
        "licence": _LICENCES.get(type(options.network_g), "as its training data and prior"),
        "card": card,
        "training_options_sha256": digest,
    }
    if size is not None:  # a MobileStyleGAN's follows from its channels
        header["crop_size"] = size
    average = task.trained.averages["net_g"]
    save_model_file(folder.models / "net_g_latest.safetensors", average, header, torch.float32)


_LICENCES: dict[type, str] = {
    MobileRestorerOptions: "builds on a prior distilled from StyleGAN2-FFHQ: "
    "research and personal use",
}
