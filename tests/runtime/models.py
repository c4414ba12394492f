"""Tiny model files with weights that reach every branch, for the tests of the runtimes."""

from __future__ import annotations

import torch

from restore.checkpoints.architectures import build_network
from restore.checkpoints.model_file import save_model_file

MOBILE = {
    "crop_size": 32,
    "trunk_size": 16,
    "trunk_channels": (8, 16, 24),
    "condition_levels": (8, 16),
    "code_rank": 8,
    "prior_channels": (16, 32, 16, 8),
    "w_dim": 8,
    "num_mapping": 1,
    "head_sizes": (32,),
}
GFPGAN = {"out_size": 32, "narrow": 0.03125, "w_dim": 8, "num_mlp": 1}


def stirred(network, seed=1):
    """The network with every weight moved, those too that start at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            fan_in = max(1, tensor[0].numel()) if tensor.ndim else 1
            spread = 0.3 if tensor.ndim < 2 else 0.3 / fan_in**0.5
            tensor.add_(torch.randn(tensor.shape, generator=generator) * spread)
    return network.eval()


def write_model(folder, architecture, arguments, name="tiny", dtype=torch.float16, **header):
    """NAME.safetensors in `folder`; returns its path."""
    path = folder / f"{name}.safetensors"
    size = arguments.get("crop_size") or arguments["out_size"]
    header = {
        "architecture": architecture,
        "arguments": arguments,
        "crop_size": size,
        "range": "-1..1",
        **header,
    }
    save_model_file(path, stirred(build_network(architecture, arguments)), header, dtype)
    return path
