"""`python -m tools faces`: thousands of generated faces in one array, as trainings read crops."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from restore.commands.tree import exit_code_of
from restore.errors import InputError
from restore.latents.arguments import say
from restore.latents.generate import heads_for, load_generator, native_sizes, render, to_uint8
from restore.latents.spaces import Generator, seeds_to_w_plus
from restore.networks.mobile_stylegan import MobileStyleGAN, PriorHeads
from restore.runtime.contract import cpu_precision
from restore.runtime.export import prior_model
from restore.runtime.openvino_runtime import HINTS

Paint = Callable[[Tensor], Tensor]


def write_face_pack(
    path: Path, generator: Generator, seeds: Sequence[int], truncation: float, size: int
) -> str:
    """Paint a face for each seed into `path`, uint8 RGB [n,size,size,3]; returns what painted.

    The names of the faces (`generated_SEED`) go into a .txt beside it, once all are painted. A pack
    without that file is unfinished: the same call goes on with it. OpenVINO paints where it is
    installed and the prior has that size, in bfloat16 where the CPU has that (how fast and how
    near: `python -m benchmarks prior --parts cost`), torch otherwise. Raises InputError for
    another name than .npy or another pack.
    """
    if path.suffix != ".npy":
        raise InputError(f"{path}: a pack of faces is a .npy")
    heads = heads_for(generator, size)
    paint, painter = openvino_painter(generator, size, heads)
    paint = paint or (lambda w_plus: render(generator, w_plus, size, heads))
    pack = _opened(path, len(seeds), size)
    for row in tqdm(range(len(seeds)), desc=path.name, unit="face", disable=None):
        if pack[row].any():  # no face is all black
            continue
        pack[row] = to_uint8(paint(seeds_to_w_plus(generator, [seeds[row]], truncation)))[0]
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
    from restore.runtime.openvino_runtime import import_openvino

    try:
        openvino = import_openvino()
    except ImportError:
        return None, "torch"
    if not isinstance(generator, MobileStyleGAN) or size not in native_sizes(generator, heads):
        return None, "torch"
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


def main(argv: Sequence[str] | None = None) -> int:
    """Paint a pack, or go on with one."""
    parser = argparse.ArgumentParser("python -m tools faces", description=__doc__)
    parser.add_argument("--model", default="default-prior", help="a generator's file, or a name")
    parser.add_argument("--seed", type=int, default=0, help="of the first face; then counted up")
    parser.add_argument("--count", type=int, default=16, help="faces")
    parser.add_argument("--truncation", type=float, default=0.7, help="psi")
    parser.add_argument("--size", type=int, default=256, help="px of a face")
    parser.add_argument("-o", "--output", type=Path, required=True, help="NAME.npy")
    return exit_code_of(lambda: _write_and_tell(parser.parse_args(argv)))


def _write_and_tell(arguments: argparse.Namespace) -> int:
    if arguments.count < 1:
        raise InputError(f"--count {arguments.count}: expected 1 or more")
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    generator, size = load_generator(arguments.model), arguments.size
    painter = write_face_pack(arguments.output, generator, seeds, arguments.truncation, size)
    return say(f"{arguments.output}: {len(seeds)} faces of {size} px, painted by {painter}")


if __name__ == "__main__":
    raise SystemExit(main())
