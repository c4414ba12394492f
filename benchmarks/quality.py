"""Quality of restored faces: against the truth by recipe, without a truth, and of any two folders.

    python -m benchmarks quality --faces FACES --weights WEIGHTS --niqe niqe512.npz
    python -m benchmarks quality --real LQ --weights WEIGHTS --niqe niqe512.npz --sheet real.jpg
    python -m benchmarks quality --compare RESTORED GT --weights WEIGHTS

FACES: the folder with faces512-val.tar (held out). WEIGHTS: the folder with SqueezeNet 1.1,
MobileFaceNet and FaceMesh. NIQE's statistics are fitted on faces*-train*.tar where the file is not
there, or on any folder by --fit-niqe FOLDER.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from benchmarks.faces import (
    SIZES,
    ProtocolFaces,
    RestorerModel,
    batches,
    load_models,
    markdown,
    open_faces,
    pixels,
    planes,
    protocol_recipe,
    resized,
)
from restore.degradation.recipe import RECIPES
from restore.degradation.truth import DEGRADATION_NAMES, JPEG_UNIT, NOISE_UNIT
from restore.errors import InputError
from restore.faces.align import face_mask
from restore.faces.quality import face_quality
from restore.images.contact_sheet import grid_sheet
from restore.losses.feature_files import (
    load_feature_network,
    load_identity_network,
    load_landmark_network,
    load_lpips_heads,
)
from restore.metrics.paired import to_luma
from restore.metrics.table import METRICS, MeanMetric, Metric, MetricSuite, MetricTools, build_suite
from restore.metrics.unpaired import NiqeStatistics, fit_niqe, load_niqe, niqe, save_niqe
from restore.pipeline.options import TrustOptions
from restore.pipeline.restorer import Restorer
from restore.runtime.contract import keep_freed_memory
from restore.runtime.identity import load_identity
from restore.runtime.select import BACKENDS

PROTOCOL = ("small_sharp", "screenshot", "old_photo", "heavy", "gfpgan", "mild")
LQ = "LQ, bicubic"
DIAL = (0.0, 0.25, 0.5, 0.75, 1.0)
NIQE_FACES, NIQE_BLOCK_SHARE = 300, 96 / 512
ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
WEIGHT_FILES = {
    "feature_network": ("squeezenet1_1_features.safetensors", load_feature_network),
    "identity_network": ("mobilefacenet_casia_112x96.safetensors", load_identity_network),
    "landmark_network": ("facemesh_468.pth", load_landmark_network),
}
"""Tool of `MetricTools` -> file in the weights folder, and its loader."""

# metric -> (heading, decimals, how it is set beside bicubic)
COLUMNS: Mapping[str, tuple[str, int, str]] = {
    "psnr": ("PSNR ↑", 2, "difference"),
    "ssim": ("SSIM ↑", 4, "difference"),
    "lpips": ("LPIPS-squeeze ↓", 4, "ratio"),
    "frechet": ("Fréchet (SqueezeNet) ↓", 0, "ratio"),
    "identity": ("identity cosine ↑", 3, "value"),
    "landmarks": ("landmarks, px of 512 ↓", 2, "value"),
    "niqe": ("NIQE ↓", 2, "value"),
    "noise_left": ("noise left ↓", 2, "value"),
    "gradient": ("gradient energy", 1, "value"),
    "detail": ("Laplacian energy", 2, "value"),
}
METRIC_NAMES = ("psnr", "ssim", "lpips", "frechet", "identity", "landmarks", "niqe")

# recipe -> metric -> (how it is set beside bicubic, aim at fidelity 1, whether at least)
AIMS: Mapping[str, Mapping[str, tuple[float, bool]]] = {
    "gfpgan": {"lpips": (0.50, False), "identity": (0.82, True)},
    "small_sharp": {"lpips": (0.50, False), "frechet": (0.15, False), "noise_left": (0.25, False)},
    "heavy": {"lpips": (0.58, False), "identity": (0.48, True), "landmarks": (4.0, False)},
    "mild": {"psnr": (-0.5, True)},
    "old_photo": {"lpips": (0.52, False), "identity": (0.88, True)},
}


@dataclass
class RecipeResult:
    """What was measured on one recipe: rows label -> metric -> value, in the order of the table.

    `estimates`: model -> [N,6], for models with a degradation head; `truth` [N,6]; `pictures`:
    column -> uint8 RGB pictures of the first faces, for a sheet.
    """

    recipe: str
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    truth: Tensor = field(default_factory=lambda: torch.zeros(0, 6))
    estimates: dict[str, Tensor] = field(default_factory=dict)
    pictures: dict[str, list[np.ndarray]] = field(default_factory=dict)


def main(argv: Sequence[str] | None = None) -> int:
    """Print Markdown tables; bad input raises `RestoreError`."""
    args = _parser().parse_args(argv)
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.fit_niqe is not None:
        _fit_folder(args.fit_niqe, args.niqe, args.size)
    elif args.compare is not None:
        _compare(args)
    elif args.real is not None:
        _real(args)
    elif args.faces is not None:
        _protocol(args)
    else:
        raise InputError("nothing to do: give --faces, --real, --compare or --fit-niqe")
    return 0


# -- against the truth ----------------------------------------------------------------------------


def _protocol(args: argparse.Namespace) -> None:
    recipes = args.recipes or [name for name in PROTOCOL if name in RECIPES]
    for recipe in recipes:
        protocol_recipe(recipe)
    fidelities = _fidelities(args)
    faces = open_faces(args.faces, args.size, args.count)
    suite = _suites(args, faces)
    models = load_models(args.model, args.backend, args.device, args.threads)
    asked = list(dict.fromkeys(args.fidelity))
    results = []
    for recipe in recipes:
        kept = args.sheet_faces if args.sheet else 0
        result = measure_recipe(
            faces, recipe, models, fidelities, suite, args.batch, kept, progress=not args.quiet
        )
        results.append(result)
        labels = [LQ, *(row_label(m.label, f) for m in models for f in asked)]
        print(f"### {recipe}, {faces.size} px, {len(faces.names)} faces of {faces.set_name}\n")
        print(quality_table(result.rows, labels) + "\n", flush=True)
        for model in models if args.monotone else ():
            print(f"Fidelity dial of {model.label}:\n\n{dial_table(result.rows, model.label)}\n")
        if args.sheet:
            columns = ["LQ", *labels[1:], "ground truth"]
            _sheet(result.pictures, columns).save(_named(args.sheet, recipe), quality=90)
    for model in models:
        label = row_label(model.label, asked[-1])
        print(f"### {label}, beside bicubic on the same input\n\n{beside_table(results, label)}\n")
        known = [r for r in results if model.label in r.estimates]
        if args.calibration and known:
            truth = torch.cat([r.truth for r in known])
            estimates = torch.cat([r.estimates[model.label] for r in known])
            print(f"### Degradation head of {model.label}, {len(truth)} pictures\n")
            print(calibration_table(truth, estimates) + "\n")
    if args.json:
        rows = {r.recipe: {k: _finite(row) for k, row in r.rows.items()} for r in results}
        report = {"set": faces.set_name, "size": faces.size, "faces": faces.names, "recipes": rows}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def _fidelities(args: argparse.Namespace) -> list[float]:
    """The asked ones in their order, then what the dial's table needs besides."""
    asked = list(dict.fromkeys(args.fidelity))
    if any(not 0 <= f <= 1 for f in asked) or args.batch < 1 or args.sheet_faces < 1:
        raise InputError(
            f"fidelity {asked}, batch {args.batch}, sheet faces {args.sheet_faces}: expected "
            "fidelities in 0..1 and whole numbers of 1 or more"
        )
    return asked + [f for f in DIAL if args.monotone and f not in asked]


def measure_recipe(
    faces: ProtocolFaces,
    recipe: str,
    models: Sequence[RestorerModel],
    fidelities: Sequence[float],
    suite: MetricSuite,
    batch_size: int = 4,
    keep_pictures: int = 0,
    progress: bool = False,
) -> RecipeResult:
    """Bicubic, and every model at every fidelity, over the faces of one recipe."""
    result = RecipeResult(recipe)
    columns: dict[str, MetricSuite] = {}
    left: dict[str, list[Tensor]] = {}
    truths: list[Tensor] = []
    estimates: dict[str, list[Tensor]] = {}

    def keep(label: str, images: Tensor) -> None:
        kept = result.pictures.setdefault(label, [])
        if len(kept) < keep_pictures:
            kept += list(pixels(images))[: keep_pictures - len(kept)]

    bar = tqdm(total=len(faces.names), desc=recipe, unit="face", disable=not progress)
    for batch in batches(faces, recipe, batch_size):
        truths.append(batch.truth)
        shown = {LQ: batch.bicubic}
        for model in models:
            painted = model.restore(batch.lq, fidelities)
            shown |= {
                row_label(model.label, f): image
                for f, image in zip(fidelities, painted.images, strict=True)
            }
            if painted.degradation is not None:
                estimates.setdefault(model.label, []).append(painted.degradation)
        for label, images in shown.items():
            columns.setdefault(label, MetricSuite(suite.metrics, suite.labels))
            columns[label].update(images, batch.gt, batch.mask)
            left.setdefault(label, []).append(noise_left(images, batch.lq, batch.gt))
            keep(label, images)
        keep("LQ", batch.lq)
        keep("ground truth", batch.gt)
        bar.update(len(batch.names))
    bar.close()
    result.truth = torch.cat(truths)
    result.estimates = {label: torch.cat(parts) for label, parts in estimates.items()}
    result.rows = {
        label: {**one.result(), "noise_left": float(torch.cat(left[label]).nanmean())}
        for label, one in columns.items()
    }
    return result


def row_label(model: str, fidelity: float) -> str:
    """The label of a model's row."""
    return f"{model}, fidelity {fidelity:g}"


def noise_left(restored: Tensor, lq: Tensor, gt: Tensor) -> Tensor:
    """Share `[n]` of the input's noise that is left on flat skin, images [n,3,s,s] in [-1,1].

    Flat: the half of the face in which the truth has the least gradient. Noise: what the input's
    second differences at the one of 1, 2, 4 and 8 px that has most of it hold beside a multiple of
    the truth's (blur scales those). Its share in the output is its coefficient there, so that
    texture of the output's own does not count. NaN where the input has less than 0.5 of 255.
    """
    shares = []
    for triple in zip(pixels(restored), pixels(lq), pixels(gt), strict=True):
        after, before, truth = (_luma(image) for image in triple)
        flat = flat_skin(truth)
        bands = (second_differences(luma, flat) for luma in (after, before, truth))
        power, share = 0.5**2, math.nan
        for out, seen, true in zip(*bands, strict=True):
            noise = seen - (seen @ true) / max(float(true @ true), 1e-9) * true
            own = float(noise @ noise)
            if own / max(len(noise), 1) > power:
                power, share = own / len(noise), float(out @ noise) / own
        shares.append(share)
    return torch.tensor(shares)


def flat_skin(luma: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """The flatter half of a face: bool [h,w] for a luma [h,w]; `inside`: where the face is."""
    if inside is None:
        inside = face_mask(luma.shape[0]) > 0.5
    smooth = cv2.GaussianBlur(luma, (0, 0), max(2.0, luma.shape[0] / 128))
    steep = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    found: np.ndarray = inside & (steep <= np.median(steep[inside]))
    return found


def second_differences(luma: np.ndarray, flat: np.ndarray) -> list[np.ndarray]:
    """Responses where it is flat at 1, 2, 4 and 8 px, each of the deviation of white noise there
    (the kernel of Immerkaer, CVIU 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    found = []
    for _ in range(4):
        response = cv2.filter2D(luma, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)
        found.append(response[flat])
        size = (max(luma.shape[1] // 2, 1), max(luma.shape[0] // 2, 1))
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA))
        flat = cv2.resize(flat.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return found


def noise_levels(luma: np.ndarray, flat: np.ndarray) -> list[float]:
    """Standard deviation of the noise (0..255) where it is flat, at 1 to 8 px, by the
    median, which edges do not move."""
    responses = second_differences(luma, flat)
    return [float(np.median(np.abs(r))) / 0.6745 if r.size else 0.0 for r in responses]


def _luma(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


# -- without a truth ------------------------------------------------------------------------------


@dataclass(frozen=True)
class RealFace:
    """A face of a real photo, `before` and `after` uint8 RGB [s,s,3], and its numbers by name:
    px between the eyes, noise and blocks before and after, NIQE, identity to the input."""

    name: str
    status: str
    before: np.ndarray
    after: np.ndarray
    numbers: Mapping[str, float]


def _real(args: argparse.Namespace) -> None:
    trust = None if args.as_shipped else TrustOptions("off", gentle=False, keep_good=False)
    restorers = {Path(name).stem: Restorer.load(name, threads=args.threads) for name in args.model}
    statistics = None if args.niqe is None else load_niqe(args.niqe)
    embedder = None
    if args.weights is not None:
        embedder = load_identity(args.weights / WEIGHT_FILES["identity_network"][0])
    photos = [path for folder in args.real for path in pictures_in(folder)]
    for label, restorer in restorers.items():
        faces = [
            face
            for path in tqdm(photos, desc=label, disable=args.quiet)
            for face in real_faces(restorer, path, trust, statistics, embedder, args.fidelity[-1])
        ]
        if not faces:
            raise InputError(f"no face was found in the {len(photos)} photos; give photos of some")
        print(f"### {label}: {len(faces)} faces of {len(photos)} photos, no truth\n")
        print(real_table(faces) + "\n", flush=True)
        if args.sheet:
            path = args.sheet if len(restorers) == 1 else _named(args.sheet, label)
            real_sheet(faces, args.cell).save(path, quality=90)


def real_faces(
    restorer: Restorer,
    path: Path,
    trust: TrustOptions | None,
    statistics: NiqeStatistics | None,
    embedder: object | None,
    fidelity: float = 1.0,
) -> list[RealFace]:
    """The faces of a photo, left to right. Noise and blocks are measured on the photo's own pixels,
    before and after at its own size; NIQE and identity on the network's crop."""
    dial = fidelity if restorer.runtime.supports_fidelity else None
    photo = restorer.restore(path, scale=1, trust=trust, fidelity=dial)
    with Image.open(path) as opened:
        source = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    image = _rgb8(np.asarray(photo.image))
    found = []
    for number, face in enumerate(sorted(photo.faces, key=lambda f: float(f.box[0]))):
        if face.crop is None or face.restored is None:
            continue
        numbers = {"eyes": face.eye_distance} | _own_pixels(source, image, face.box)
        if statistics is not None:
            shown = [planes(x[None]).float() / 127.5 - 1 for x in (face.crop, face.restored)]
            before, after = (float(niqe(x, statistics)) for x in shown)
            numbers |= {"NIQE before": before, "NIQE": after}
        if embedder is not None:
            pair = np.stack([face.crop, face.restored])
            vectors = embedder.embed(pair)  # type: ignore[attr-defined]
            numbers["identity"] = float(vectors[0] @ vectors[1])
        name = path.stem if len(photo.faces) == 1 else f"{path.stem} {number + 1}"
        name = f"{path.parent.name}/{name}"
        found.append(RealFace(name, face.status, face.crop, face.restored, numbers))
    return found


def _rgb8(image: np.ndarray) -> np.ndarray:
    """Gray, colour or with alpha, 8 or 16 bits -> uint8 RGB [h,w,3]."""
    image = (
        np.atleast_3d(image)[..., :3]
        if image.ndim == 3 and image.shape[2] > 2
        else np.repeat(np.atleast_3d(image)[..., :1], 3, 2)
    )
    return np.ascontiguousarray(image // 257 if image.dtype == np.uint16 else image, np.uint8)


def _own_pixels(before: np.ndarray, after: np.ndarray, box: np.ndarray) -> dict[str, float]:
    """Noise at its strongest scale and 8 px blocks in the middle of a face's box [4]."""
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    height, width = before.shape[:2]
    inner = slice(max(y0, 0), min(y1, height)), slice(max(x0, 0), min(x1, width))
    pair = [np.ascontiguousarray(image[inner]) for image in (before, after)]
    if min(pair[0].shape[:2]) < 16:
        return {}
    lumas = [_luma(image) for image in pair]
    high, wide = lumas[0].shape
    oval = np.zeros((high, wide), np.uint8)
    cv2.ellipse(oval, ((wide / 2, high / 2), (0.7 * wide, 0.7 * high), 0), 1, -1)
    flat = flat_skin(lumas[1], oval > 0)
    # at a scale at which the face is smaller than 48 px what remains is its features
    scales = max(1, int(np.log2(max(min(high, wide) / 48, 1))) + 1)
    levels = [noise_levels(luma, flat)[:scales] for luma in lumas]
    at = int(np.argmax(levels[0]))
    found = {"noise before": levels[0][at], "noise": levels[1][at]}
    side = min(pair[0].shape[:2])
    top, left = (pair[0].shape[0] - side) // 2, (pair[0].shape[1] - side) // 2
    for name, image in zip(("blocks before", "blocks"), pair, strict=True):
        square = np.ascontiguousarray(image[top : top + side, left : left + side])
        found[name] = face_quality(square).blocks
    return found


def real_table(faces: Sequence[RealFace]) -> str:
    """A row a face, and their medians."""
    names = list(dict.fromkeys(key for face in faces for key in face.numbers))
    decimals = {"eyes": 0, "identity": 3}

    def cells(values: Mapping[str, float]) -> list[str]:
        return [_number(values.get(name, math.nan), decimals.get(name, 2)) for name in names]

    body = [[f.name, f.status.replace("_", " "), *cells(f.numbers)] for f in faces]
    medians = {n: float(np.median([f.numbers[n] for f in faces if n in f.numbers])) for n in names}
    return markdown(["face", "status", *names], [*body, ["median", "", *cells(medians)]])


def real_sheet(faces: Sequence[RealFace], cell: int = 192, pairs: int = 4) -> Image.Image:
    """Before | after of each face, `pairs` in a row, in cells of `cell` px."""
    shown, captions = [], []
    for face in faces:
        shown += [resized(face.before, cell), resized(face.after, cell)]
        captions += [face.name[-(cell // 8) :], face.status.replace("_", " ")]
    return grid_sheet(shown, captions, 2 * pairs)


# -- any two folders ------------------------------------------------------------------------------


def _compare(args: argparse.Namespace) -> None:
    restored, gt = (by_stem(folder) for folder in args.compare)
    statistics = None if args.niqe is None else load_niqe(args.niqe)
    tools = metric_tools(args.metrics or METRIC_NAMES, args.weights, statistics, strict=False)
    paired = not args.unpaired
    suite = build_suite(tools, args.metrics, paired)
    if paired and restored.keys() ^ gt.keys():
        alone = sorted(restored.keys() ^ gt.keys())
        raise InputError(
            f"{len(alone)} names are in one folder only ({', '.join(alone[:3])} ...); pairs go by "
            "file name without ending; --unpaired compares sets"
        )
    for stem, path in restored.items():
        image = read_image(path)
        suite.update(image, read_image(gt[stem]) if paired else image[:0])
    for path in () if paired else gt.values():
        image = read_image(path)
        suite.update(image[:0], image)
    values = suite.result()
    print(f"{args.compare[0]} against {args.compare[1]}: {len(restored)} images\n")
    body = [[suite.labels[n], f"{v:.4f}", METRICS[n].better] for n, v in values.items()]
    print(markdown(["metric", "value", "better"], body))


def by_stem(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by their names without ending; raises `InputError` without any."""
    paths = pictures_in(folder)
    found = {path.stem: path for path in paths}
    if len(found) < len(paths):
        raise InputError(f"{folder} holds pictures of one name with different endings; keep one")
    return found


def pictures_in(folder: Path) -> list[Path]:
    """The picture itself, or those of a folder and below, sorted."""
    if folder.is_file():
        return [folder]
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
    if not paths:
        raise InputError(f"{folder} holds no picture; expected {', '.join(sorted(ENDINGS))}")
    return paths


def read_image(path: Path) -> Tensor:
    """A picture as RGB [1,3,h,w] in [-1,1]."""
    try:
        with Image.open(path) as picture:
            crop = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise InputError(f"{path} cannot be read as a picture: {error}") from error
    return planes(crop[None]).float() / 127.5 - 1


# -- what measures --------------------------------------------------------------------------------


def metric_tools(
    names: Sequence[str],
    weights: Path | None,
    statistics: NiqeStatistics | None,
    strict: bool = True,
) -> MetricTools:
    """The networks that the named metrics stand on, from the folder of weights.

    Raises `InputError` where `strict` and a file is missing, or for an unknown name.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise InputError(f"metrics {unknown}: expected some of {', '.join(METRICS)}")
    needs = {need for name in names for need in METRICS[name].needs}
    tools = MetricTools(niqe_statistics=statistics)
    for tool, (filename, load) in WEIGHT_FILES.items():
        path = None if weights is None else weights / filename
        if tool in needs and path is not None and path.is_file():
            tools = replace(tools, **{tool: load(path)})  # type: ignore[arg-type]
        elif tool in needs and strict:
            users = ", ".join(name for name in names if tool in METRICS[name].needs)
            raise InputError(
                f"{users} need {filename}: give its folder by --weights, or name the metrics that "
                "need none: --metrics psnr ssim"
            )
    if "lpips_heads" in needs and tools.feature_network is not None:
        tools = replace(tools, lpips_heads=load_lpips_heads("squeeze"))
    return tools


def _suites(args: argparse.Namespace, faces: ProtocolFaces) -> MetricSuite:
    """The metrics of the protocol; NIQE is left out where there are no statistics."""
    names = list(args.metrics or [n for n in METRIC_NAMES if n != "ssim"])
    statistics = None
    if "niqe" in names and args.niqe is not None:
        statistics = niqe_statistics(args.niqe, args.faces, args.size, not args.quiet)
    elif "niqe" in names:
        names.remove("niqe")
        print("NIQE is left out: it needs statistics of good crops, --niqe FILE\n", file=sys.stderr)
    base = build_suite(metric_tools(names, args.weights, statistics), names)
    metrics: dict[str, Metric] = dict(base.metrics)
    if args.monotone:
        metrics |= {
            "gradient": MeanMetric(lambda restored, gt, mask: gradient_energy(restored, mask)),
            "detail": MeanMetric(lambda restored, gt, mask: detail_energy(restored, mask)),
        }
    return MetricSuite(metrics, base.labels)


def niqe_statistics(path: Path, faces: Path, size: int, progress: bool = False) -> NiqeStatistics:
    """Statistics of a file; where it is not there they are fitted on the training crops and kept.

    They are of up to 300 faces of `faces512-train.tar`, or of `faces256-train-0.tar` .. `-3.tar`,
    in the FFHQ frame of that size and within the mask: what the protocol measures.
    """
    block = round(size * NIQE_BLOCK_SHARE)
    if path.is_file():
        statistics = load_niqe(path)
        if statistics.block != block:
            raise InputError(
                f"{path} is of blocks of {statistics.block} px, expected {block} for faces of "
                f"{size} px; give another file"
            )
        return statistics
    stored = max(size, 256)
    parts = sorted(p.stem.partition("-")[2] for p in faces.glob(f"faces{stored}-train*.tar"))
    if not parts:
        raise InputError(
            f"{path} is not there, and {faces} holds no faces{stored}-train*.tar to fit NIQE's "
            "statistics on; leave --niqe out or give the file"
        )
    sets = [open_faces(faces, size, -(-NIQE_FACES // len(parts)), part) for part in parts]

    def images() -> Iterator[tuple[Tensor, Tensor | None]]:
        total = sum(len(one.names) for one in sets)
        with tqdm(total=total, desc="NIQE statistics", disable=not progress) as bar:
            for one in sets:
                for name in one.names:
                    yield one.framed([name])
                    bar.update()

    source = f"{sum(len(one.names) for one in sets)} faces of faces{stored}-train"
    statistics = fit_niqe(images(), block, source)
    save_niqe(statistics, path)
    return statistics


def _fit_folder(folder: Path, out: Path | None, size: int) -> None:
    if out is None:
        raise InputError("--fit-niqe FOLDER needs --niqe FILE to write to")
    paths, block = pictures_in(folder), round(size * NIQE_BLOCK_SHARE)
    statistics = fit_niqe(
        ((read_image(path), None) for path in paths), block, f"{len(paths)} of {folder.name}"
    )
    save_niqe(statistics, out)
    print(f"NIQE statistics of {folder}, blocks of {block} px: {out}")


def gradient_energy(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of neighbours `[n]`, luma in 0..255, both within the mask."""
    luma = to_luma(image)
    inside = torch.ones_like(luma) if mask is None else mask.to(luma)
    total, weight = luma.new_zeros(len(luma)), luma.new_zeros(len(luma))
    for dim in (2, 3):
        length = luma.shape[dim] - 1
        both = inside.narrow(dim, 0, length) * inside.narrow(dim, 1, length)
        total += (luma.diff(dim=dim).square() * both).sum((1, 2, 3))
        weight += both.sum((1, 2, 3)) / 2
    return total / weight


def detail_energy(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared Laplacian `[n]` of the luma (0..255), within the mask: the finest detail."""
    luma = to_luma(image)
    kernel = luma.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None] / 4
    energy = F.conv2d(luma, kernel).square()
    inside = torch.ones_like(energy) if mask is None else -F.max_pool2d(-mask.to(luma), 3, 1)
    return (energy * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))


# -- tables ---------------------------------------------------------------------------------------

Rows = Mapping[str, Mapping[str, float]]


def quality_table(rows: Rows, labels: Sequence[str]) -> str:
    """One row a candidate; "–" where nothing was measured."""
    names = [name for name in COLUMNS if name in rows[labels[0]]]
    body = [[r, *(_number(rows[r].get(n, math.nan), COLUMNS[n][1]) for n in names)] for r in labels]
    return markdown(["", *(COLUMNS[name][0] for name in names)], body)


def beside_table(results: Sequence[RecipeResult], label: str) -> str:
    """One row a recipe: PSNR as a gain in dB, LPIPS and Fréchet as shares of bicubic's, the others
    as they are; the default model's aims at fidelity 1 in brackets, "!" where one is missed."""
    names = [name for name in COLUMNS if name in results[0].rows[label]]
    names = [name for name in names if name not in ("gradient", "detail")]
    body = []
    for result in results:
        row = [result.recipe]
        for name in names:
            _, decimals, how = COLUMNS[name]
            own, base = result.rows[label][name], result.rows[LQ][name]
            value = own - base if how == "difference" else own / base if how == "ratio" else own
            text = _number(value, 2 if how == "ratio" else decimals)
            aim = AIMS.get(result.recipe, {}).get(name)
            if aim is not None and label.endswith("fidelity 1") and not math.isnan(value):
                missed = value < aim[0] if aim[1] else value > aim[0]
                text += f" ({'≥' if aim[1] else '≤'} {aim[0]:g}{' !' if missed else ''})"
            row.append(text)
        body.append(row)
    marks = {"difference": " gained", "ratio": " / bicubic", "value": ""}
    heads = [f"{COLUMNS[name][0].rstrip(' ↑↓')}{marks[COLUMNS[name][2]]}" for name in names]
    return markdown(["recipe", *heads], body)


def dial_table(rows: Rows, model: str) -> str:
    """The fidelity dial of a model, and in its last row whether it is monotone."""
    senses = {"identity": True, "psnr": True, "gradient": False, "detail": False}
    labels = [row_label(model, f) for f in DIAL]
    names = [name for name in senses if name in rows[labels[0]]]
    body = [
        [f"{f:g}", *(_number(rows[label][n], COLUMNS[n][1]) for n in names)]
        for f, label in zip(DIAL, labels, strict=True)
    ]
    verdicts = [
        f"{'rises' if senses[n] else 'falls'}: "
        + ("yes" if monotone([rows[label][n] for label in labels], senses[n]) else "NO")
        for n in names
    ]
    heads = [COLUMNS[name][0] for name in names]
    return markdown(["fidelity", *heads], [*body, ["monotone", *verdicts]])


def monotone(values: Sequence[float], rising: bool) -> bool:
    """Whether the values never turn back, and end elsewhere than they began."""
    steps = [(b - a) if rising else (a - b) for a, b in pairwise(values)]
    return all(step >= 0 for step in steps) and sum(steps) > 0


def calibration_table(truth: Tensor, estimates: Tensor) -> str:
    """Error per parameter of the degradation head, truth and estimates [n,6]; "of the mean" is what
    always saying the mean of these faces would err."""
    factors = {"noise_sigma": NOISE_UNIT, "jpeg_quality": JPEG_UNIT}
    body = []
    for i, name in enumerate(DEGRADATION_NAMES):
        t, e = (x[:, i].double() * factors.get(name, 1.0) for x in (truth, estimates))
        guess = float((t - t.mean()).abs().mean())
        error = f"{float((e - t).abs().mean()):.3f}"
        bias = f"{float((e - t).mean()):+.3f}"
        body.append([name, error, f"{guess:.3f}", bias, _number(correlation(t, e), 2)])
    heads = ["parameter", "mean absolute error", "of the mean", "bias", "correlation"]
    return markdown(heads, body)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(a.square().sum().sqrt() * b.square().sum().sqrt())
    return float((a * b).sum()) / norm if norm > 1e-9 else math.nan


def _sheet(pictures: Mapping[str, Sequence[np.ndarray]], columns: Sequence[str]) -> Image.Image:
    """One row a face, one column a label, in cells of 256 px."""
    count = len(pictures[columns[0]])
    cells = [resized(pictures[label][row], 256) for row in range(count) for label in columns]
    return grid_sheet(cells, list(columns) * count, len(columns))


def _named(path: Path, word: str) -> Path:
    return path.with_name(f"{path.stem}_{word}{path.suffix}")


def _number(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--faces", type=Path, help="folder with faces512-val.tar, faces256-val.tar")
    add("--real", type=Path, nargs="+", help="photos, or folders of them, without a truth")
    add("--compare", type=Path, nargs=2, metavar=("RESTORED", "GT"), help="two folders")
    add("--unpaired", action="store_true", help="of --compare: GT is any set of good faces")
    add("--fit-niqe", type=Path, metavar="FOLDER", help="write NIQE statistics to --niqe, stop")
    add("--weights", type=Path, help="folder with the networks that measure")
    add("--niqe", type=Path, help="NIQE statistics; fitted on faces*-train*.tar where not there")
    add("--model", nargs="+", default=["default"], help="FILE, name, or LABEL=FILE; several")
    add("--backend", choices=[b for b in BACKENDS if b != "auto"], default="torch")
    add("--device", default="cpu", help="of the torch backend")
    add("--threads", type=int)
    add("--fidelity", type=float, nargs="+", default=[1.0])
    add("--recipes", nargs="+", help=f"default: {' '.join(PROTOCOL)}")
    add("--metrics", nargs="+", help=f"of {' '.join(METRIC_NAMES)}")
    add("--size", type=int, choices=SIZES, default=512)
    add("--count", type=int, help="faces, evenly spread over the set; default all")
    add("--batch", type=int, default=4, help="faces at a time; changes memory, not the protocol")
    add("--monotone", action="store_true", help="table of the fidelity dial in five steps")
    add("--calibration", action="store_true", help="errors of the degradation head")
    add("--as-shipped", action="store_true", help="of --real: guard and gentleness as by default")
    add("--json", type=Path, help="all numbers")
    add("--sheet", type=Path, help="picture of faces; by recipe, or before | after of --real")
    add("--sheet-faces", type=int, default=6)
    add("--cell", type=int, default=192, help="px of a face on the sheet of --real")
    add("--quiet", action="store_true", help="no progress bar")
    return parser
