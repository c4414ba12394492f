"""Tiny trainings with everything on: option files, crops and random loss networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from restore.networks.identity import MobileFaceNet
from restore.networks.perceptual import SqueezeNetFeatures

SIZE = 32


def crops(folder: Path, count: int = 12, size: int = SIZE) -> Path:
    """Smooth random pictures as one array."""
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.integers(0, 256, (count, 3, 4, 4)).astype(np.float32))
    large = nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(0, 255)
    path = folder / "crops.npy"
    np.save(path, large.permute(0, 2, 3, 1).to(torch.uint8).numpy())
    return path


def loss_networks(folder: Path) -> dict[str, str]:
    """Files of a feature network, LPIPS heads and a face embedding, weights drawn at random."""
    torch.manual_seed(1)
    features = SqueezeNetFeatures()
    identity = MobileFaceNet()
    for module in identity.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():  # statistics of noise: then embeddings tell pictures apart
        identity.train()(torch.randn(8, 3, *identity.input_size))
    files = {name: str(folder / f"{name}.safetensors") for name in ("features", "identity")}
    save_file(features.state_dict(), files["features"])
    save_file({k: v.clone() for k, v in identity.state_dict().items()}, files["identity"])
    heads = {
        f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(features.channels)
    }
    files["heads"] = str(folder / "heads.pth")
    torch.save(heads, files["heads"])
    return files


def restorer_options(folder: Path, **changes: object) -> dict:
    """The default architecture at 32 px with every loss; `changes` are dotted keys with __."""
    files = loss_networks(folder)
    part = {"type": "FacialComponentDiscriminator", "width": 4}
    options: dict = {
        "name": "tiny",
        "num_gpu": 0,
        "manual_seed": 3,
        "datasets": {
            "train": {
                "type": "FaceDataset",
                "dataroot_gt": str(crops(folder)),
                "batch_size_per_gpu": 2,
                "num_worker_per_gpu": 0,
                "crop_components": True,
                "frame": {
                    "zoom": 1.2,
                    "centre": [256, 280],
                    "jitter_scale": 0.04,
                    "jitter_rotation": 2.0,
                    "jitter_shift": 4.0,
                },
                "degradation": {"recipe": {"light": 1.0, "gfpgan": 1.0}},
            }
        },
        "network_g": {
            "type": "MobileRestorer",
            "crop_size": SIZE,
            "trunk_size": 16,
            "trunk_channels": [8, 8, 12],
            "condition_levels": [8, 16],
            "code_rank": 8,
            "prior_channels": [16, 16, 16, 16],
            "w_dim": 16,
            "num_mapping": 2,
            "head_sizes": [SIZE],
            "train_head": True,
        },
        "network_d": {
            "type": "PatchDiscriminator",
            "width": 4,
            "fold": 1,
            "feature_network": files["features"],
        },
        "network_d_left_eye": part,
        "network_d_right_eye": part,
        "network_d_mouth": part,
        "path": {
            "experiments_root": str(folder / "experiments"),
            "pretrain_network_identity": files["identity"],
        },
        "train": {
            "optim_g": {"type": "AdamW", "lr": 1e-3, "betas": [0.9, 0.99]},
            "optim_d": {"type": "Adam", "lr": 1e-3},
            "optim_component": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99]},
            "total_iter": 4,
            "warmup_iter": 2,
            "ema_half_life_kimg": 0.01,
            "clip_grad_norm": 1.0,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
            "perceptual_opt": {
                "type": "LPIPSLoss",
                "network_path": files["features"],
                "heads_path": files["heads"],
                "perceptual_weight": 1.0,
            },
            "gan_opt": {"loss_weight": 0.1},
            "gan_component_opt": {"loss_weight": 0.1},
            "comp_style_weight": 1.0,
            "identity_weight": 0.3,
            "degradation_weight": 0.3,
            "code_weight": 0.4,
            "code_distance_weight": 0.01,
            "codes_first_iter": 1,
            "generated": {"share": 0.5},
            "fidelity": {"mode": "random", "pixel_tilt": [1.0, 2.0]},
            "r1_reg_weight": 1.0,
            "net_d_reg_every": 2,
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 100, "save_minutes": None},
    }
    return changed(options, changes)


def changed(options: dict, changes: dict) -> dict:
    """Options with keys like `train__total_iter` set."""
    for key, value in changes.items():
        block = options
        *path, last = key.split("__")
        for name in path:
            block = block.setdefault(name, {})
        if value is None:
            block.pop(last, None)
        else:
            block[last] = value
    return options


def write(folder: Path, options: dict, name: str = "tiny.yml") -> Path:
    """An option file."""
    path = folder / name
    path.write_text(yaml.safe_dump(options), encoding="utf-8")
    return path
