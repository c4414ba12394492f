"""The identity network: a student distilled from a public MobileFaceNet."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from restore.checkpoints.model_file import load_model_file, save_model_file
from restore.data.stores import Store, open_store
from restore.degradation.degrade import degrade
from restore.degradation.recipe import MIXTURES, RECIPES
from restore.errors import CheckpointError, OptionError
from restore.faces.align import warp
from restore.geometry import ffhq_template, similarity
from restore.model_files import read_header
from restore.networks.identity import IdentityStudent, MobileFaceNet, folded
from restore.options.parse import Notes, parse_block
from restore.options.schema import dump_options
from restore.runtime.contract import keep_freed_memory
from restore.training.distributed import Ranks
from restore.training.experiment import Progress
from restore.training.fit import Pace, Trained, averaged_copy, ema_update
from restore.training.precision import Stepper
from restore.trust.identity import VIEW, VIEW_POINTS
from tools.training import cosine, group, in_full_precision, train, warm_decay


@dataclass(frozen=True, kw_only=True)
class CropSource:
    """A store of aligned crops (folder, LMDB, tar, .npy) and the template they were aligned on."""

    path: str
    zoom: float = 1.0
    centre: tuple[float, float] = (256.0, 256.0)
    people: bool = False
    """Names are Person_0001: people that `identity_split` holds out for tests are left out."""

    def problems(self) -> Iterable[str]:
        if self.zoom <= 0:
            yield f"zoom: found {self.zoom}, expected above 0"


@dataclass(frozen=True, kw_only=True)
class StudentOptions:
    """Arguments of `IdentityStudent`."""

    dimensions: int = 128
    widths: tuple[int, int, int] = (48, 96, 160)
    blocks: tuple[int, int, int] = (1, 2, 1)
    head: int = 384


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights of the losses; see `identity_losses`."""

    cosine: float = 1.0
    bank: float = 0.1
    temperature: float = 20.0
    """Factor of the cosines in the softmax over the bank."""
    map: float = 1.0
    """Falls to zero over the run."""


@dataclass(frozen=True, kw_only=True)
class IdentityOptions:
    """A distillation: what the student sees, from whom it learns and for how long."""

    name: str
    crops: tuple[CropSource, ...]
    val_crops: tuple[CropSource, ...]
    teacher: str
    """A MobileFaceNet's weights."""
    network: StudentOptions = field(default_factory=StudentOptions)
    losses: LossOptions = field(default_factory=LossOptions)
    experiments_root: str = "experiments"
    recipe: str = "restore_default"
    variants: int = 2
    """Degraded copies of each crop that are made beforehand."""
    clean_share: float = 0.3
    """Share of a batch that is not degraded."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """How often a crop is drawn by the prefix of its name (before the first _), 1 unless given."""
    max_minutes: float = 55.0
    max_steps: int = 1_000_000
    rate_by: Literal["time", "steps"] = "time"
    """What the rate (and the map's weight) falls by: the minutes, or the steps of max_steps where
    nobody knows how much of the machine the run will get."""
    batch_size: int = 64
    lr: float = 2e-3
    min_factor: float = 0.01
    warmup_steps: int = 100
    weight_decay: float = 0.05
    ema_decay: float = 0.998
    precision: str = "bf16"
    threads: int = 1
    seed: int = 0
    val_freq: int = 500
    print_freq: int = 50
    save_freq: int = 500

    def problems(self) -> Iterable[str]:
        if self.recipe not in {*RECIPES, *MIXTURES}:
            yield f"recipe: found {self.recipe!r}, expected one of {sorted({*RECIPES, *MIXTURES})}"
        if self.precision not in ("fp32", "bf16"):
            yield f"precision: found {self.precision!r}, expected fp32 or bf16"
        if not self.crops or not self.val_crops:
            yield "crops: expected one store or more, and val_crops likewise"
        for key in ("variants", "batch_size", "max_steps", "threads", "val_freq", "save_freq"):
            if getattr(self, key) < 1:
                yield f"{key}: found {getattr(self, key)}, expected 1 or more"
        if not 0 <= self.clean_share <= 1:
            yield f"clean_share: found {self.clean_share}, expected 0 to 1"


def load_identity_options(path: str | Path) -> IdentityOptions:
    """Read and check an option file; raises OptionError with every problem in it."""
    try:
        block = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"option file {path} cannot be read: {error}") from error
    notes = Notes()
    options = parse_block(IdentityOptions, block, "", notes)
    if notes.problems:
        raise OptionError("\n  ".join([f"{path} has problems:", *notes.problems]))
    assert isinstance(options, IdentityOptions)
    return options


SINGLES_HELD_OUT = 0.4


def person_of(key: str) -> str:
    """The name in a key such as Some_Name_0001 (folders are left out)."""
    return key.rsplit("/", 1)[-1].rsplit("_", 1)[0]


def held_out_people(keys: Iterable[str]) -> frozenset[str]:
    """Everybody with several photos, and by a hash of the name 40 % of those with one."""
    counts = Counter(person_of(key) for key in keys)
    return frozenset(
        name for name, count in counts.items() if count > 1 or _share(name) < SINGLES_HELD_OUT
    )


def _share(name: str) -> float:
    return zlib.crc32(name.encode()) / 2**32


SQUARE = 144
"""px of the square that is degraded: the FFHQ frame would have 148 px at the view's scale."""
MARGIN = 8
"""px that a stored view is larger than the network's on each side: room for jitter."""
CHUNK = 64


@dataclass(frozen=True, eq=False)
class IdentityPool:
    """Mapped arrays of a pool folder and the keys of its rows."""

    views: NDArray[np.uint8]
    targets: NDArray[np.float32]
    maps: NDArray[np.float16]
    keys: tuple[str, ...]


def make_pool(
    folder: Path,
    sources: Sequence[CropSource],
    teacher: MobileFaceNet,
    recipe: str,
    variants: int,
    seed: int,
) -> IdentityPool:
    """The pool of `folder`, made where it is missing or unfinished; goes on where it stopped.

    A pool of other crops, recipe or seed in the same folder is replaced.
    """
    rows = list(_rows(sources))
    height, width = VIEW[0] + 2 * MARGIN, VIEW[1] + 2 * MARGIN
    shapes = {
        "views": (np.uint8, (len(rows), 1 + variants, height, width, 3)),
        "targets": (np.float32, (len(rows), 128)),
        "maps": (np.float16, (len(rows), 2, 128, 7, 6)),
    }
    asked = [[str(s), s.zoom, list(s.centre)] for s in sources]
    named = json.dumps([asked, [key for _, key, _ in rows], recipe, variants, seed])
    digest = hashlib.sha256(named.encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "journal.json"
    done = _done(journal, digest)
    arrays: dict[str, Any] = {}
    for name, (dtype, shape) in shapes.items():
        path = folder / f"{name}.npy"
        mode = "r+" if done and path.is_file() else "w+"
        arrays[name] = np.lib.format.open_memmap(path, mode, dtype, shape)
        done = done if mode == "r+" else 0
    with tqdm(total=len(rows), initial=done, desc="faces for the student", unit="face") as bar:
        for start in range(done, len(rows), CHUNK):
            part = slice(start, min(start + CHUNK, len(rows)))
            _fill(arrays, part, rows[part], teacher, recipe, variants, seed)
            for array in arrays.values():
                array.flush()
            journal.write_text(json.dumps({"digest": digest, "done": part.stop}), "utf-8")
            bar.update(part.stop - start)
    return IdentityPool(keys=tuple(key for _, key, _ in rows), **arrays)


def teacher_targets(teacher: MobileFaceNet, views: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Views [n,3,112,96] in [-1,1] -> (unit vectors [n,128], maps [n,2,128,7,6]).

    The vector is the mean of both mirror images' embeddings: a face has no side. Maps are those of
    the last block, of the image and of its mirror image.
    """
    maps, vectors = [], []
    # bfloat16 moves a vector by 0.002 of its length at most and takes 40 % off on CPUs that have it
    with torch.inference_mode(), torch.autocast(views.device.type, torch.bfloat16):
        for image in (views, views.flip(3)):
            x = image.contiguous(memory_format=torch.channels_last)
            found = teacher.blocks(teacher.dw_conv1(teacher.conv1(x)))
            pooled = teacher.linear1(teacher.linear7(teacher.conv2(found)))
            maps.append(found.float())
            vectors.append(F.normalize(torch.flatten(pooled, 1).float(), dim=1))
    return F.normalize(vectors[0] + vectors[1], dim=1), torch.stack(maps, 1)


def square_view(crop: NDArray[np.uint8], source: CropSource) -> NDArray[np.uint8]:
    """A crop [s,s,3] -> the inner face and what surrounds it, [144,144,3], at the view's scale."""
    points = ffhq_template(crop.shape[0], source.zoom, source.centre)
    shift = np.array([(SQUARE - VIEW[1]) / 2, (SQUARE - VIEW[0]) / 2])
    matrix = similarity(points, np.array(VIEW_POINTS) + shift)
    return np.asarray(warp(crop, matrix, SQUARE, SQUARE), np.uint8)


def _rows(sources: Sequence[CropSource]) -> Iterator[tuple[Store, str, CropSource]]:
    for source in sources:
        store = open_store(source.path)
        left_out = held_out_people(store.keys) if source.people else frozenset()
        yield from ((store, k, source) for k in store.keys if person_of(k) not in left_out)


def _done(journal: Path, digest: str) -> int:
    if not journal.is_file():
        return 0
    content = json.loads(journal.read_text("utf-8"))
    return int(content["done"]) if content["digest"] == digest else 0


def _fill(
    arrays: dict[str, Any],
    part: slice,
    rows: Sequence[tuple[Store, str, CropSource]],
    teacher: MobileFaceNet,
    recipe: str,
    variants: int,
    seed: int,
) -> None:
    squares = np.stack([square_view(store.image(key), source) for store, key, source in rows])
    clean = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 127.5 - 1
    top, left = (SQUARE - VIEW[0]) // 2, (SQUARE - VIEW[1]) // 2
    inner = clean[:, :, top : top + VIEW[0], left : left + VIEW[1]]
    targets, maps = teacher_targets(teacher, inner)
    arrays["targets"][part] = targets.numpy()
    arrays["maps"][part] = maps.half().numpy()
    top, left = top - MARGIN, left - MARGIN
    height, width = VIEW[0] + 2 * MARGIN, VIEW[1] + 2 * MARGIN
    for v in range(1 + variants):
        shown = clean
        if v:
            numbers = [seed * 1_000_003 + (part.start + i) * 131 + v for i in range(len(rows))]
            shown = degrade(clean, recipe, seeds=numbers).lq
        pixels = ((shown + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        cut = pixels[:, :, top : top + height, left : left + width]
        arrays["views"][part, v] = cut.permute(0, 2, 3, 1).numpy()


def load_teacher(path: str | Path) -> MobileFaceNet:
    """The teacher, frozen; raises CheckpointError where the file holds another network."""
    from restore.errors import CheckpointError
    from restore.losses.feature_files import load_identity_network

    network: nn.Module = load_identity_network(path)
    if not isinstance(network, MobileFaceNet):
        raise CheckpointError(
            f"{path} holds a {type(network).__name__}; the student learns the last map of a "
            "MobileFaceNet"
        )
    return network.to(memory_format=torch.channels_last)


_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class IdentityBatch:
    """faces [n,3,112,96] in [-1,1], targets [n,d] of length 1, maps [n,c,7,6] of the teacher."""

    faces: Tensor
    targets: Tensor
    maps: Tensor


class IdentityBatches:
    """Batches of a pool by their step."""

    def __init__(self, pool: IdentityPool, options: IdentityOptions) -> None:
        self._pool, self._options = pool, options
        prefixes = [person_of(key).split("_")[0] for key in pool.keys]
        weights = np.array([options.weights.get(prefix, 1.0) for prefix in prefixes])
        self._shares = np.cumsum(weights / weights.sum())

    def batch(self, step: int) -> IdentityBatch:
        """The batch of a step."""
        options, pool = self._options, self._pool
        draws = np.random.default_rng([options.seed, step])
        n, count = options.batch_size, pool.views.shape[1]
        rows = np.searchsorted(self._shares, draws.random(n), side="right")
        rows = np.minimum(rows, len(pool.keys) - 1)
        variants = draws.integers(1, count, n) if count > 1 else np.zeros(n, np.int64)
        variants = np.where(draws.random(n) < options.clean_share, 0, variants)
        flips = draws.random(n) < 0.5
        faces = np.empty((n, *VIEW, 3), np.uint8)
        for i in range(n):
            view = _moved(pool.views[rows[i], variants[i]], draws, bool(flips[i]))
            faces[i] = _degraded(view, draws)
        return IdentityBatch(
            _recoloured(faces, draws),
            torch.from_numpy(pool.targets[rows]),
            torch.from_numpy(pool.maps[rows, flips.astype(np.int64)].astype(np.float32)),
        )


def _moved(view: NDArray[np.uint8], draws: np.random.Generator, flip: bool) -> NDArray[np.uint8]:
    """A stored view [128,112,3] as another detector would have aligned it, [112,96,3]."""
    height, width = VIEW
    if flip:
        view = view[:, ::-1]
    turn, grow, x, y = np.clip(draws.standard_normal(4), -2, 2)
    scale, angle = np.exp(0.04 * grow), np.deg2rad(2.5 * turn)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle + MARGIN + 1.2 * np.array([x, y]) - linear @ middle
    return np.asarray(
        cv2.warpAffine(
            np.ascontiguousarray(view),
            np.concatenate([linear, offset[:, None]], 1),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.uint8,
    )


def _degraded(face: NDArray[np.uint8], draws: np.random.Generator) -> NDArray[np.uint8]:
    """Sometimes shrunk and enlarged again, sometimes noisy: fresh at every step."""
    chance, size, noise = draws.random(3)
    if chance < 0.25:
        factor = 1 + 3 * size
        small = (max(8, round(VIEW[1] / factor)), max(8, round(VIEW[0] / factor)))
        shrunk = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
        face = np.asarray(cv2.resize(shrunk, VIEW[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    if 0.15 < chance < 0.35:
        grain = draws.standard_normal(face.shape, np.float32) * np.float32(10 * noise)
        face = np.clip(face + grain, 0, 255).astype(np.uint8)
    return face


def _recoloured(faces: NDArray[np.uint8], draws: np.random.Generator) -> Tensor:
    """uint8 [n,h,w,3] -> [n,3,h,w] in [-1,1] with other light; one in eight in gray.

    Saturation, gain and shifts of a face are one matrix [3,3] and one offset for all its pixels.
    """
    n = len(faces)
    spread = np.clip(draws.standard_normal((n, 6)), -2, 2)
    saturation = np.where(draws.random(n) < 0.125, 0, 1 + 0.2 * spread[:, 0])[:, None, None]
    matrix = saturation * np.eye(3) + (1 - saturation) * np.array(_LUMA)[:, None]
    matrix *= (1 + 0.12 * spread[:, 1])[:, None, None]
    offset = 0.1 * spread[:, 2:3] + 0.03 * spread[:, 3:6] - matrix.sum(1)
    pixels = torch.from_numpy(faces).view(n, -1, 3).float()
    mixed = torch.baddbmm(
        torch.from_numpy(offset[:, None]).float(), pixels, torch.from_numpy(matrix / 127.5).float()
    )
    return mixed.clamp_(-1, 1).view(n, *VIEW, 3).permute(0, 3, 1, 2)


def identity_losses(
    vectors: Tensor,
    maps: Tensor,
    targets: Tensor,
    target_maps: Tensor,
    bank: Tensor,
    options: LossOptions,
    map_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum and its parts.

    vectors, targets [n,d] of length 1: of the student (on a degraded face) and the teacher (on the
    clean one); maps, target_maps [n,c,h,w]: the last maps; bank [m,d]: the teacher's vectors of
    all faces. Parts: `cosine`, the mean of 1 - cosine; `bank`, the divergence of the softmax of
    temperature-scaled cosines to the whole bank, which ranks the wrong persons too (relational
    distillation, Park et al. 2019, in the form of Fang et al. 2021, SEED); `map`, the mean squared
    error of the maps over the teacher's mean square, weighted by `map_weight`.
    """
    vectors = vectors.float()
    parts = {"cosine": (1 - (vectors * targets).sum(1)).mean()}
    with torch.no_grad():
        wanted = F.softmax(options.temperature * targets @ bank.T, dim=1)
    found = F.log_softmax(options.temperature * vectors @ bank.T, dim=1)
    parts["bank"] = F.kl_div(found, wanted, reduction="batchmean")
    total = options.cosine * parts["cosine"] + options.bank * parts["bank"]
    if map_weight > 0:
        parts["map"] = F.mse_loss(maps.float(), target_maps) / target_maps.square().mean()
        total = total + map_weight * parts["map"]
    return total, parts


HEADER = {
    "architecture": "identity_student",
    "template": {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]},
    "range": "-1..1",
    "licence": "research and personal use: teacher and crops are for research",
}


class Distillation:
    """A student in training; draws come from the step alone, so that there is no more state."""

    def __init__(self, options: IdentityOptions, pool: IdentityPool, val: IdentityPool) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.batches, self.val = IdentityBatches(pool, options), val
        self.bank = torch.from_numpy(pool.targets[:])
        self.stepper = Stepper(Ranks(), options.precision, clip=5.0)
        network = options.network
        self.student = IdentityStudent(
            network.dimensions, network.widths, network.blocks, network.head, norm=True
        ).to(memory_format=torch.channels_last)
        self.to_map = nn.Conv2d(network.widths[-1], pool.maps.shape[2], 1)
        self.average: Any = averaged_copy(self.student)
        weights = [*self.student.parameters(), *self.to_map.parameters()]
        groups = [
            group((w for w in weights if w.ndim > 1), options.lr, options.weight_decay),
            group((w for w in weights if w.ndim <= 1), options.lr),
        ]
        self.trained = Trained(
            {"student": self.student, "to_map": self.to_map},
            {"student": self.average},
            {"student": torch.optim.AdamW(groups, options.lr, betas=(0.9, 0.99))},
        )

    def share(self, progress: Progress) -> float:
        """How much of the run has passed, all runs together: of its minutes, or of its steps."""
        if self.options.rate_by == "steps":
            return min(1.0, progress.step / self.options.max_steps)
        return min(1.0, progress.seconds / (60 * self.options.max_minutes))

    def step(self, progress: Progress) -> dict[str, Tensor]:
        """One step on the batch of its number."""
        options, batch = self.options, self.batches.batch(progress.step)
        map_weight = options.losses.map * (1 - self.share(progress))
        self.student.train()

        def loss() -> tuple[Tensor, dict[str, Tensor]]:
            features = self.student.features(batch.faces)
            vectors, maps = self.student.embed(features), self.to_map(features)
            with in_full_precision():
                return identity_losses(
                    vectors, maps, batch.targets, batch.maps, self.bank, options.losses, map_weight
                )

        logged = self.stepper.step(self.trained.optimisers["student"], [loss])
        ema_update(self.average, self.student, warm_decay(options.ema_decay, progress.step))
        progress.images += len(batch.faces)
        return logged

    @torch.inference_mode()
    def validate(self, _: Progress) -> dict[str, float]:
        """Cosine to the teacher on clean and degraded faces, and how often the nearest is right."""
        targets = torch.from_numpy(self.val.targets[:])
        found = {}
        for name, variants in (("clean", [0]), ("degraded", range(1, self.val.views.shape[1]))):
            vectors = torch.cat([self.average(_inner(self.val, v)) for v in variants])
            wanted = targets.repeat(len(vectors) // len(targets), 1)
            found[f"{name}_cosine"] = float((vectors * wanted).sum(1).mean())
            right = (vectors @ targets.T).argmax(1) % len(targets)
            index = torch.arange(len(targets)).repeat(len(vectors) // len(targets))
            found[f"{name}_nearest"] = float((right == index).float().mean())
        return found

    def state_dict(self) -> dict[str, Any]:
        """Nothing beside the networks."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take."""


def distil(option_file: str | Path, auto_resume: bool = False) -> Path:
    """Run the distillation of an option file; returns the model file of the averaged student."""
    options = load_identity_options(option_file)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    folder = Path(options.experiments_root) / options.name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(option_file, folder / Path(option_file).name)
    teacher = load_teacher(options.teacher)
    common = (teacher, options.recipe, options.variants)
    val = make_pool(folder / "pool_val", options.val_crops, *common, options.seed + 1)
    pool = make_pool(folder / "pool", options.crops, *common, options.seed)
    task, path = Distillation(options, pool, val), folder / "identity_latest.safetensors"
    pace = Pace(
        options.max_steps,
        options.max_minutes,
        over_all_runs=True,
        print_every=options.print_freq,
        save_every=options.save_freq,
        validate_every=options.val_freq,
    )
    train(
        options.name,
        task,
        folder,
        pace,
        cosine(
            options.max_steps, options.warmup_steps, options.min_factor, options.rate_by == "time"
        ),
        auto_resume,
        task.validate,
        lambda progress: _export(task, path, progress),
    )
    return path


def _export(task: Distillation, path: Path, progress: Progress) -> None:
    digest = hashlib.sha256(dump_options(task.options).encode()).hexdigest()
    header = {
        **HEADER,
        "arguments": folded(task.average).arguments,
        "card": f"# Identity student\n\nIn training: {progress.images} faces seen.\n",
        "training": f"{progress.images:,} faces in {progress.seconds / 60:.0f} minutes",
        "training_options_sha256": digest,
    }
    save_model_file(path, folded(task.average), header, torch.float32)


def _inner(pool: IdentityPool, variant: int) -> Tensor:
    views = pool.views[:, variant, MARGIN:-MARGIN, MARGIN:-MARGIN]
    return torch.from_numpy(views.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1


_CARD = """# The identity network

Tells whether two aligned faces are one person: {count:.2f} million weights, a unit vector of
{dimensions} numbers. A student of a public MobileFaceNet (trained on CASIA-WebFace, research),
trained from random weights by this project: {training}

- It saw {data}. Half of the crops are All-Age-Faces (mostly Asian faces of 2 to 80 years);
  weights of the draw even that out in part.
- Licence: research and personal use.
- It is here to notice that a restoration changed a face. Do not use it to identify anyone: it is
  weaker than networks made for that, and it is not equally good on all groups of people.
- Measured agreement, accuracy and thresholds: docs/identity.md.
"""


def ship_identity(source: str | Path, path: str | Path, data: str) -> dict[str, Any]:
    """identity_latest.safetensors of a distillation -> the packaged form; returns the header.

    `data`: one line for the card, what it saw. Raises CheckpointError for another network's file.
    """
    header = read_header(source)
    if header.get("architecture") != "identity_student":
        raise CheckpointError(
            f"{source} holds {header.get('architecture')!r}, expected an identity_student: "
            "identity_latest.safetensors of a distillation"
        )
    network = load_model_file(source)
    count = sum(weight.numel() for weight in network.parameters()) / 1e6
    card = _CARD.format(
        count=count,
        dimensions=header["arguments"]["dimensions"],
        training=header["training"],
        data=data,
    )
    keys = ("architecture", "arguments", "template", "range", "licence", "training")
    kept = {key: header[key] for key in (*keys, "training_options_sha256")}
    shipped = {**kept, "card": card}
    save_model_file(path, network, shipped, torch.float16)
    return shipped
