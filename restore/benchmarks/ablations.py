"""What each part of the restorer is worth: short equal trainings, each with one thing left out.

    python -m restore.benchmarks ablations -opt options/ablation_cpu.yml -o OUT --faces ...

Every variant is trained by `restore.train` from the same seed on the same draws and measured on the
validation protocol; a variant that is in OUT already is not trained again. After so few images the
differences tell what a part does for learning, not what a finished model would lose.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from restore.benchmarks import restorer
from restore.errors import InputError, RestoreError
from restore.train import main as train

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "whole": (),
    "random decoder": (
        "network_g:decoder_load_path=~",
        "train:generated:share=0",  # a random decoder paints no faces
        "train:code_weight=0",
    ),
    "no SFT": ("network_g:condition_levels=[]",),
    "no identity loss": ("train:identity_weight=0",),
    "no degradation loss": ("train:degradation_weight=0",),
    "no generated faces": ("train:generated:share=0", "train:code_weight=0"),
}
"""Name -> what it changes in the option file; a random decoder's peer is "no generated faces"."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, print the protocol's table; bad input raises `RestoreError`."""
    args = _parser().parse_args(argv)
    unknown = [name for name in args.variants if name not in VARIANTS]
    if unknown:
        raise InputError(f"variants {unknown}: expected some of {', '.join(VARIANTS)}")
    models = [f"{name}={trained(args, name)}" for name in args.variants]
    asked = ["--faces", str(args.faces), "--weights", str(args.weights), "--model", *models]
    asked += ["--size", "256", "--recipes", "gfpgan", "--fidelity", *map(str, args.fidelity)]
    asked += ["--metrics", "psnr", "ssim", "lpips", "identity", "--count", str(args.count)]
    return restorer.main([*asked, "--quiet"])


def trained(args: argparse.Namespace, name: str) -> Path:
    """The weights of a variant, trained now if they are not there."""
    run = name.replace(" ", "_")
    path = Path(args.output) / run / "models" / "net_g_latest.safetensors"
    if path.is_file():
        return path
    changes = [*args.force_yml, f"name={run}", f"path:experiments_root={args.output}"]
    changes += [] if args.steps is None else [f"train:total_iter={args.steps}"]
    asked = ["-opt", str(args.opt), "--force_yml", *changes, *VARIANTS[name]]
    if train(asked) or not path.is_file():
        raise RestoreError(f"the training of {name!r} left no {path}; its log is in that folder")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "restore.benchmarks ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-opt", type=Path, required=True, help="option file of a restorer")
    add("--faces", type=Path, required=True, help="folder with faces256-val.tar")
    add("--weights", type=Path, required=True, help="folder with the networks that measure")
    add("-o", "--output", type=Path, required=True, help="folder of the runs; kept")
    add("--variants", nargs="+", default=list(VARIANTS), help="default: all")
    add("--steps", type=int, help="of each training; default: as the option file says")
    add("--count", type=int, default=16, help="faces measured")
    add("--fidelity", type=float, nargs="+", default=[1.0])
    add("--force_yml", nargs="+", default=[], metavar="a:b=c", help="for every variant")
    return parser
