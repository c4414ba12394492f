"""Whether an exported graph gives what torch gives: by the largest difference, or in decibels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from restore.config.model_header import FORMAT, read_header
from restore.config.onnx_session import open_session
from restore.errors import CheckpointError
from restore.runtime.onnx_runtime import cpu_count

TOLERANCE = 1e-3  # of the check, in the [-1,1] range of pixels
SMALL_TOLERANCE = {"identity_student": 1e-4, "cover_network": 1e-3}
"""Of vectors of length 1, and of logits."""
LEAST_PSNR = {"fp32": 80.0, "fp16": 45.0, "int8": 30.0}  # dB of images in [-1,1]


def check_graph(model: Path, graph: Path, seed: int = 0) -> dict[str, float]:
    """Largest difference per output between onnxruntime and torch on two random crops.

    Images in the [-1,1] range, at fidelity 1 and 0.4. Raises `CheckpointError` above 1e-3.
    """
    architecture = read_header(model).get("architecture")
    if architecture in SMALL_TOLERANCE:
        return _check_small_graph(model, graph, SMALL_TOLERANCE[architecture], seed)
    session = open_session(graph, cpu_count())
    size = session.get_inputs()[0].shape[-1]
    lq = np.random.default_rng(seed).uniform(-1, 1, (2, 3, size, size)).astype(np.float32)
    found, expected = _both(session, model, lq)
    differences = {
        name: float(np.abs(value - expected[name]).max()) for name, value in found.items()
    }
    # `not <=` also catches numbers that are not finite.
    if any(not difference <= TOLERANCE for difference in differences.values()):
        raise CheckpointError(
            f"{graph} differs from torch by {differences}, allowed is {TOLERANCE}"
        )
    return differences


def _check_small_graph(model: Path, graph: Path, tolerance: float, seed: int) -> dict[str, float]:
    """The same for a graph of one input and one output, on two random faces."""
    import torch

    from restore.checkpoints.load import load_network

    session = open_session(graph, cpu_count())
    (given,), (asked,) = session.get_inputs(), session.get_outputs()
    faces = np.random.default_rng(seed).uniform(-1, 1, (2, *given.shape[1:])).astype(np.float32)
    with torch.inference_mode():
        expected = load_network(model)(torch.from_numpy(faces)).numpy()
    difference = float(np.abs(session.run(None, {given.name: faces})[0] - expected).max())
    if not difference <= tolerance:
        raise CheckpointError(f"{graph} differs from torch by {difference}, allowed {tolerance}")
    return {asked.name: difference}


def check_precision(model: Path, graph: Path, precision: str, seed: int = 0) -> tuple[float, float]:
    """PSNR in dB of the graph's images against torch in float32, and the least that is allowed.

    Two crops of coarse random patches, at fidelity 1 and 0.4; images clamped to [-1,1]. Raises
    `CheckpointError` below the least.
    """
    session = open_session(graph, cpu_count())
    size = session.get_inputs()[0].shape[-1]
    coarse = np.random.default_rng(seed).uniform(-1, 1, (2, 3, size // 8, size // 8))
    lq = coarse.repeat(8, 2).repeat(8, 3).astype(np.float32)
    found, expected = _both(session, model, lq)
    psnr = image_psnr(found["image"], expected["image"])
    least = LEAST_PSNR[precision]
    if not psnr >= least:
        raise CheckpointError(f"{graph} is {psnr:.1f} dB from torch, at least {least} are asked")
    return psnr, least


def image_psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """PSNR in dB of images [n,3,h,w] clamped to [-1,1]; infinite where they are equal."""
    difference = np.clip(image, -1, 1) - np.clip(reference, -1, 1)
    error = float(np.square(difference, dtype=np.float64).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(4 / error))


def _both(
    session: Any, model: Path, lq: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Outputs of the graph and of torch, by name."""
    import torch

    from restore.checkpoints.load import load_network
    from restore.runtime.checkpoint_graph import load_restorer_checkpoint

    ours = model.suffix == ".safetensors" and read_header(model).get("format") == FORMAT
    network = load_network(model) if ours else load_restorer_checkpoint(model)
    fidelity = np.array([1.0, 0.4], np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(lq), torch.from_numpy(fidelity))
    names = [o.name for o in session.get_outputs()]
    values = session.run(None, {"lq": lq, "fidelity": fidelity})
    return dict(zip(names, values, strict=True)), {
        name: getattr(expected, name).numpy() for name in names
    }
