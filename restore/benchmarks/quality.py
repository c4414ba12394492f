"""Picture quality of a folder against its ground truth: every metric the given files allow."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restore.errors import InputError, MissingExtraError, RestoreError
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_landmark_network,
    load_lpips_heads,
)
from restore.metrics.niqe import NiqeStatistics, fit_niqe, load_niqe, save_niqe
from restore.metrics.table import METRICS, MetricSuite, MetricTools, build_suite

_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m restore.benchmarks quality RESTORED GT [...]`; 0, or 2 with one line on stderr."""
    options = _parser().parse_args(argv)
    try:
        if options.fit_niqe:
            folder, out = options.fit_niqe
            save_niqe(_fit(Path(folder), options.block, options.mask), out)
            print(f"NIQE statistics of {folder}, blocks of {options.block} px: {out}")
            return 0
        if options.restored is None or options.gt is None:
            raise InputError("two folders are needed: RESTORED and GT")
        names = options.metrics.split(",") if options.metrics else None
        suite = build_suite(_tools(options), names, paired=not options.unpaired)
        images = measure_folders(
            suite, Path(options.restored), Path(options.gt), options.mask, not options.unpaired
        )
        values = suite.result()
    except RestoreError as error:
        print(f"quality: {error}", file=sys.stderr)
        return 2
    report = {
        "restored": str(options.restored),
        "gt": str(options.gt),
        "images": images,
        "metrics": {
            name: {"value": value, "better": METRICS[name].better, "label": suite.labels[name]}
            for name, value in values.items()
        },
    }
    print(json.dumps(report, indent=2) if options.json else format_table(report))
    return 0


def measure_folders(
    suite: MetricSuite, restored: Path, gt: Path, mask: Path | None = None, paired: bool = True
) -> int:
    """Feed two folders to a suite, image by image, paired by file stem; the number of images.

    `mask` is one gray picture for all, or a folder of them by stem; white counts. Raises
    `InputError` when names do not match, a picture is unreadable or sizes differ.
    """
    first, second = _by_stem(restored), _by_stem(gt)
    if not paired:
        for path in first.values():
            image = _read(path)
            suite.update(image, image[:0], _mask(mask, path.stem, image))
        for path in second.values():
            image = _read(path)
            suite.update(image[:0], image, _mask(mask, path.stem, image))
        return len(first)
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        raise InputError(
            f"{len(alone)} names are in one folder only ({', '.join(alone[:3])} ...): {restored} "
            f"has {len(first)} pictures, {gt} {len(second)}; pairs go by file name without ending"
        )
    for stem, path in first.items():
        image, truth = _read(path), _read(second[stem])
        if image.shape != truth.shape:
            raise InputError(
                f"{path} is {image.shape[3]} x {image.shape[2]}, its ground truth "
                f"{truth.shape[3]} x {truth.shape[2]}; bring both to one size first"
            )
        suite.update(image, truth, _mask(mask, stem, image))
    return len(first)


def format_table(report: dict) -> str:
    """The report as text, one metric a line."""
    lines = [f"{report['restored']} against {report['gt']}: {report['images']} images"]
    for entry in report["metrics"].values():
        lines.append(f"{entry['label']:<44}{entry['value']:>10.4f}  {entry['better']} is better")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("restore.benchmarks quality", description=__doc__)
    parser.add_argument("restored", nargs="?", help="folder of restored pictures")
    parser.add_argument("gt", nargs="?", help="folder of good pictures with the same names")
    parser.add_argument("--metrics", help=f"comma separated, of {','.join(METRICS)}; default all")
    parser.add_argument("--mask", type=Path, help="gray picture, or a folder of them; white counts")
    parser.add_argument("--unpaired", action="store_true", help="GT is any set of good faces")
    parser.add_argument("--feature-network", type=Path, help="SqueezeNet 1.1 or VGG19 weights")
    parser.add_argument("--lpips-heads", type=Path, help="lpips' squeeze.pth; default: its package")
    parser.add_argument("--identity-network", type=Path, help="MobileFaceNet or ArcFace weights")
    parser.add_argument("--landmark-network", type=Path, help="FaceMesh weights")
    parser.add_argument("--niqe-statistics", type=Path, help="file made with --fit-niqe")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--fit-niqe", nargs=2, metavar=("FOLDER", "FILE"), help="make NIQE statistics, then stop"
    )
    parser.add_argument("--block", type=int, default=96, help="NIQE block in px, even (48 at 256)")
    return parser


def _tools(options: argparse.Namespace) -> MetricTools:
    features = options.feature_network and load_feature_network(options.feature_network)
    heads = None
    if features is not None and (options.lpips_heads or features.kind == "squeezenet1_1"):
        try:
            heads = load_lpips_heads("squeeze", options.lpips_heads)
        except MissingExtraError as error:
            # All other metrics do without; asked for by name, LPIPS then fails with its need.
            print(f"quality: no LPIPS: {error}", file=sys.stderr)
    identity, landmarks = options.identity_network, options.landmark_network
    statistics = options.niqe_statistics
    return MetricTools(
        feature_network=features,
        lpips_heads=heads,
        identity_network=load_identity_network(identity) if identity else None,
        landmark_network=load_landmark_network(landmarks) if landmarks else None,
        niqe_statistics=load_niqe(statistics) if statistics else None,
    )


def _fit(folder: Path, block: int, mask: Path | None) -> NiqeStatistics:
    def images() -> Iterator[tuple[Tensor, Tensor | None]]:
        for path in _by_stem(folder).values():
            image = _read(path)
            yield image, _mask(mask, path.stem, image)

    return fit_niqe(images(), block, f"{len(_by_stem(folder))} images of {folder.name}")


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a folder of pictures")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _ENDINGS)
    found = {p.stem: p for p in paths}
    if not found:
        raise InputError(f"{folder} holds no picture; expected {', '.join(sorted(_ENDINGS))}")
    if len(found) < len(paths):
        raise InputError(f"{folder} holds pictures of one name with different endings; keep one")
    return found


def _read(path: Path) -> Tensor:
    """A picture as RGB [1,3,h,w] in [-1,1]."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path} cannot be read as a picture: {error}") from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def _mask(mask: Path | None, stem: str, image: Tensor) -> Tensor | None:
    if mask is None:
        return None
    if mask.is_dir():
        masks = _by_stem(mask)
        if stem not in masks:
            raise InputError(f"{mask} has no mask named {stem}; give one for each picture")
        mask = masks[stem]
    gray = (_read(mask)[:, :1] + 1) / 2
    if gray.shape[2:] != image.shape[2:]:
        raise InputError(
            f"mask {mask} is {gray.shape[3]} x {gray.shape[2]}, the picture "
            f"{image.shape[3]} x {image.shape[2]}"
        )
    return gray
