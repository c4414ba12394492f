"""Frozen feature and identity networks from weight files, their kind told by their keys."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from restore.checkpoints.weights_file import read_state_dict
from restore.errors import CheckpointError, MissingExtraError
from restore.networks.facemesh import FaceMesh
from restore.networks.identity import GrayArcFace18, IrArcFace, MobileFaceNet
from restore.networks.perceptual import SqueezeNetFeatures, Vgg19Features

# kind -> (a key that only it has, builder): what a file of each kind looks like.
FEATURE_NETWORKS = {
    "squeezenet1_1": ("features.3.squeeze.weight", SqueezeNetFeatures.from_state),
    "vgg19": ("features.34.weight", Vgg19Features.from_state),
}
IDENTITY_NETWORKS = {
    "mobilefacenet": (
        "linear7.conv.weight",
        lambda state: MobileFaceNet.from_state(state).eval().fold_batch_norm(),
    ),
    "gray_arcface18": ("layer1.0.bn0.weight", GrayArcFace18.from_state),
    "ir_arcface": ("body.0.res_layer.0.weight", IrArcFace.from_state),
}

LANDMARK_NETWORKS = {
    "facemesh_468": ("coord_head.6.weight", FaceMesh.from_state),
}


def load_feature_network(path: str | Path) -> nn.Module:
    """A frozen feature network, `image [n,3,h,w] RGB [-1,1] -> list of activations`.

    Reads SqueezeNet 1.1 and VGG19 in torchvision's layout, `.safetensors` or `.pth`.
    Raises `CheckpointError` when the file is of neither kind or broken.
    """
    return _build(Path(path), FEATURE_NETWORKS)


def load_identity_network(path: str | Path) -> nn.Module:
    """A frozen face embedding: MobileFaceNet, GFPGAN's gray ResNet18 or an IR-SE ArcFace.

    The module says what it wants: `input_size (h, w)`, `template` (five points in that crop),
    `gray`. Raises `CheckpointError` when the file is of no known kind or broken.
    """
    return _build(Path(path), IDENTITY_NETWORKS)


def load_landmark_network(path: str | Path) -> nn.Module:
    """A frozen face mesh: `face [n,3,192,192] -> (points [n,468,3], presence logit [n])`.

    Raises `CheckpointError` when the file is of no known kind or broken.
    """
    return _build(Path(path), LANDMARK_NETWORKS)


def load_lpips_heads(backbone: str = "squeeze", path: str | Path | None = None) -> list[Tensor]:
    """LPIPS' linear weights, one `[c]` tensor per activation, from lpips' own file.

    Without `path` the file is taken from the installed `lpips` package, which is not imported
    (its import pulls in torchvision). Raises `MissingExtraError` when it is not installed.
    """
    if path is None:
        spec = importlib.util.find_spec("lpips")
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError("lpips", "train", "the linear heads of LPIPS")
        path = Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / f"{backbone}.pth"
    state = read_state_dict(path).tensors
    keys = sorted(state, key=lambda k: int("".join(c for c in k.split(".")[0] if c.isdigit())))
    return [state[k].flatten().float() for k in keys]


def freeze(network: nn.Module) -> nn.Module:
    """The same network in eval mode, its weights without gradients."""
    return network.requires_grad_(False).eval()


def _build(path: Path, kinds: Mapping[str, tuple[str, Any]]) -> nn.Module:
    state = read_state_dict(path).tensors
    for kind, (mark, build) in kinds.items():
        if mark in state:
            try:
                return freeze(build(state))
            except (RuntimeError, KeyError, ValueError) as error:
                raise CheckpointError(
                    f"{path} looks like {kind} but does not fit: {error}"
                ) from error
    raise CheckpointError(
        f"{path} is none of {', '.join(kinds)}; it holds {len(state)} tensors, first keys: "
        f"{', '.join(list(state)[:3])}"
    )
