"""Thousands of generated faces in one array, as a training reads crops: painted, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from restore.checkpoints.prior_heads_file import load_prior_heads
from restore.errors import InputError
from restore.latents.generate import native_sizes, render, to_uint8
from restore.latents.spaces import Generator, z_of_seeds, z_to_w_plus
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads

Paint = Callable[[Tensor], Tensor]


def write_face_pack(
    path: Path, generator: Generator, seeds: Sequence[int], truncation: float, size: int
) -> str:
    """Paint a face for each seed into `path`, uint8 RGB [n,size,size,3]; returns what painted.

    The names of the faces (`generated_SEED`) go into a .txt beside it, once all are painted. A pack
    without that file is unfinished: the same call goes on with it. OpenVINO paints where it is
    installed and the prior has that size, in bfloat16 where the CPU has that (how fast and how
    near: `python -m restore.benchmarks prior --parts cost`), torch otherwise. Raises InputError for
    another name than .npy or another pack.
    """
    if path.suffix != ".npy":
        raise InputError(f"{path}: a pack of faces is a .npy")
    heads = load_prior_heads(generator) if size < generator.out_size // 2 else None
    paint, painter = openvino_painter(generator, size, heads)
    if paint is None:

        def paint(w_plus: Tensor) -> Tensor:
            return render(generator, w_plus, size, heads)

    pack = _opened(path, len(seeds), size)
    for row in tqdm(range(len(seeds)), desc=path.name, unit="face", disable=None):
        if pack[row].any():  # no face is all black
            continue
        w_plus = z_to_w_plus(generator, z_of_seeds(generator, [seeds[row]]), truncation)
        pack[row] = to_uint8(paint(w_plus))[0]
    pack.flush()
    path.with_suffix(".txt").write_text("".join(f"generated_{seed}\n" for seed in seeds), "utf-8")
    return painter


def _opened(path: Path, count: int, size: int) -> Any:
    shape = (count, size, size, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        return np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    pack = np.lib.format.open_memmap(path, "r+")
    if pack.shape != shape or pack.dtype != np.uint8:
        raise InputError(
            f"{path} holds {pack.dtype} {list(pack.shape)}, expected uint8 {list(shape)} to go on "
            "with; name another file"
        )
    return pack


def openvino_painter(
    generator: Generator, size: int, heads: PriorHeads | None
) -> tuple[Paint | None, str]:
    """Codes [n,k,w_dim] -> images [n,3,size,size] in [-1,1], or None where it cannot; its name."""
    try:
        import openvino
    except ImportError:
        return None, "torch"
    if not isinstance(generator, MobileStyleGAN) or size not in native_sizes(generator, heads):
        return None, "torch"
    from restore.runtime.openvino_runtime import HINTS
    from restore.runtime.precision import cpu_precision
    from restore.runtime.prior_graph import prior_model

    precision = cpu_precision("auto")

    content = prior_model(generator, size, heads).SerializeToString()
    core = openvino.Core()
    hints = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = core.compile_model(core.read_model(content), "CPU", hints)

    def paint(w_plus: Tensor) -> Tensor:
        found = compiled([w_plus.numpy(), np.ones(len(w_plus), np.float32)])[0]
        return torch.from_numpy(np.array(found)).clamp(-1, 1)

    return paint, f"openvino, {precision}"
