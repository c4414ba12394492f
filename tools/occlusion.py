"""The occlusion network: faces with things painted before them, its training, its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from restore.checkpoints.model_file import save_model_file
from restore.data.stores import open_store
from restore.degradation.degrade import degrade
from restore.degradation.occluders import paint_occluder
from restore.errors import InputError
from restore.faces.align import warp
from restore.geometry import ffhq_template, similarity
from restore.networks.occlusion import CoverNetwork, folded
from restore.runtime.contract import cpu_precision, keep_freed_memory
from restore.training.distributed import Ranks
from restore.training.experiment import Progress
from restore.training.fit import Pace, Trained, averaged_copy, ema_update
from restore.training.precision import Stepper
from restore.trust.occlusion import CELLS, SIDE, VIEW_POINTS
from tools.training import cosine, group, in_full_precision, train, warm_decay

SQUARE = 160
"""px of the square that is painted and degraded, at twice the view's scale, with room to move."""
SQUARE_POINTS = (VIEW_POINTS + 0.5) * 2 - 0.5 + (SQUARE - 2 * SIDE) / 2
RECIPE = "restore_default"
LUMA = np.array((0.299, 0.587, 0.114), np.float32)


@dataclass(frozen=True)
class OcclusionBatch:
    """faces [n,3,64,64] RGB in [-1,1]; covered [n,1,16,16]: the hidden share of each cell."""

    faces: Tensor
    covered: Tensor


def read_squares(stores: Sequence[Path], every: int = 1) -> NDArray[np.uint8]:
    """Squares [k,160,160,3] of crops on the template zoomed 1.2 (`restore.data.prepare`)."""
    squares = []
    for path in stores:
        store = open_store(path)
        for key in tqdm(sorted(store.keys)[::every], desc=path.name, disable=None):
            crop = store.image(key)
            points = ffhq_template(crop.shape[0], 1.2, (256.0, 280.0))
            squares.append(warp(crop, similarity(points, SQUARE_POINTS), SQUARE, SQUARE))
    if not squares:
        raise InputError(f"no crops in {', '.join(str(p) for p in stores) or 'no store'}")
    return np.asarray(np.stack(squares), np.uint8)


class OcclusionBatches:
    """Batches by their step, of the squares of `read_squares`; two faces of three get a cover."""

    def __init__(self, squares: NDArray[np.uint8], size: int, seed: int = 0) -> None:
        self._squares, self._size, self._seed = squares, size, seed

    def batch(self, step: int) -> OcclusionBatch:
        """The batch of a step."""
        random = np.random.default_rng([self._seed, step])
        faces, masks = [], []
        for row in random.integers(0, len(self._squares), self._size):
            face = self._squares[row]
            mask = np.zeros((SQUARE, SQUARE), np.float32)
            if random.random() < 2 / 3:
                others = self._squares[random.integers(0, len(self._squares), 2)]
                face, mask = paint_occluder(face, SQUARE_POINTS, others, random)
            faces.append(face)
            masks.append(mask)
        degraded = _with_degradation(np.stack(faces), random)
        moved = [
            _moved(face, mask, random) for face, mask in zip(degraded, np.stack(masks), strict=True)
        ]
        return OcclusionBatch(
            _recoloured(np.stack([face for face, _ in moved]), random),
            torch.from_numpy(np.stack([mask for _, mask in moved])[:, None]),
        )


def _with_degradation(faces: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Three of four degraded by `RECIPE`, the others as they are."""
    degraded = random.random(len(faces)) < 0.75
    if not degraded.any():
        return faces
    images = torch.from_numpy(faces[degraded]).permute(0, 3, 1, 2).float() / 127.5 - 1
    seeds = [int(v) for v in random.integers(0, 2**31, int(degraded.sum()))]
    lq = degrade(images, RECIPE, seeds=seeds).lq
    result = faces.copy()
    pixels = ((lq + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    result[degraded] = pixels.permute(0, 2, 3, 1).numpy()
    return result


def _moved(
    face: NDArray[np.uint8], mask: NDArray[np.float32], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The view [64,64,3] as another detector would have aligned it, and the mask's [16,16]."""
    turn, grow, x, y = np.clip(random.standard_normal(4), -2, 2)
    scale, angle = 2 * np.exp(0.05 * grow), np.deg2rad(4 * turn)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (2 * SIDE - 1) / 2) / 2
    offset = np.full(2, (SQUARE - 1) / 2) + 3 * np.array([x, y]) - linear @ middle
    # two samples along each side of a view's pixel, averaged: nothing of the square is passed over
    fine = np.concatenate([linear / 2, (offset - linear @ np.full(2, 0.25))[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (2 * SIDE, 2 * SIDE)
    large = cv2.warpAffine(face, fine, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    hidden = cv2.warpAffine(mask, fine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    view = cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    cells = cv2.resize(hidden, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    if random.random() < 0.5:
        view, cells = view[:, ::-1], cells[:, ::-1]
    return np.asarray(view, np.uint8), np.asarray(cells, np.float32)


def _recoloured(faces: NDArray[np.uint8], random: np.random.Generator) -> Tensor:
    """uint8 [n,64,64,3] -> [n,3,64,64] in [-1,1] with other light; one in four in gray."""
    n = len(faces)
    pixels = faces.astype(np.float32)
    saturation = np.where(random.random(n) < 0.25, 0, 1 + 0.25 * random.standard_normal(n))
    gray = (pixels @ LUMA)[..., None]
    pixels = gray + saturation[:, None, None, None] * (pixels - gray)
    gain = np.exp(0.2 * random.standard_normal((n, 1, 1, 1)))
    tint = 0.04 * random.standard_normal((n, 1, 1, 3))
    shift = 0.1 * random.standard_normal((n, 1, 1, 1))
    values = (pixels / 127.5 - 1) * gain + shift + tint
    return torch.from_numpy(np.clip(values, -1, 1).transpose(0, 3, 1, 2).astype(np.float32))


_CARD = """# The occlusion network

Says where on an aligned face something lies that is no face: {count:.2f} million weights, 64 px in,
a map of 16x16 out. Trained from random weights by this project on {faces:,} face crops with painted
hands, masks, glasses, cloth and objects before them, clean and degraded: {seen:,} seen in
{minutes:.0f} minutes.

- Half of the crops are All-Age-Faces (mostly Asian faces of 2 to 80 years).
- Licence: research and personal use, like the crops.
- Measured: docs/trust.md.
"""


@dataclass(frozen=True)
class OcclusionOptions:
    """How the occlusion network is trained; the packaged one by the defaults."""

    minutes: float = 20.0
    steps: int = 1_000_000
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.02
    ema_decay: float = 0.995
    warmup_steps: int = 50
    widths: tuple[int, int, int, int] = (16, 32, 48, 64)
    precision: str = "auto"
    """"float32", "bfloat16", or "auto": bfloat16 where the CPU computes in it."""
    threads: int = 1
    save_minutes: float = 4.0
    seed: int = 0


class OcclusionTask:
    """The network in training; draws come from the step alone, so that there is no more state."""

    def __init__(self, options: OcclusionOptions, batches: OcclusionBatches) -> None:
        torch.manual_seed(options.seed)
        self.options, self.batches = options, batches
        half = cpu_precision(options.precision) == "bfloat16"
        self.stepper = Stepper(Ranks(), "bf16" if half else "fp32", clip=2.0)
        network = CoverNetwork(options.widths, norm=True).to(memory_format=torch.channels_last)
        groups = [group(network.parameters(), options.lr, options.weight_decay)]
        self.trained = Trained(
            {"occlusion": network},
            {"occlusion": averaged_copy(network)},
            {"occlusion": torch.optim.AdamW(groups)},
        )

    def step(self, progress: Progress) -> dict[str, Tensor]:
        """One step on the batch of its number."""
        batch = self.batches.batch(progress.step)
        network = self.trained.networks["occlusion"].train()

        def loss() -> tuple[Tensor, dict[str, Tensor]]:
            logits = network(batch.faces.contiguous(memory_format=torch.channels_last))
            with in_full_precision():
                value = F.binary_cross_entropy_with_logits(logits.float(), batch.covered)
            return value, {"loss": value}

        logged = self.stepper.step(self.trained.optimisers["occlusion"], [loss])
        decay = warm_decay(self.options.ema_decay, progress.step)
        ema_update(self.trained.averages["occlusion"], network, decay)
        progress.images += len(batch.faces)
        return logged

    def state_dict(self) -> dict[str, Any]:
        """Nothing beside the networks."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take."""


def fit_occlusion_network(
    stores: Sequence[Path], output: Path, folder: Path, options: OcclusionOptions
) -> Progress:
    """Train on the crops of `stores` (template zoomed 1.2) and write the shipped file.

    States and logs go to `folder`; a run goes on from the newest state that it finds there. An
    interrupted run writes the file too, of what it has learnt so far; its card says how much.
    """
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    squares = read_squares(stores)
    task = OcclusionTask(options, OcclusionBatches(squares, options.batch_size, options.seed))
    pace = Pace(
        options.steps, options.minutes, over_all_runs=True, save_minutes=options.save_minutes
    )

    def ship(progress: Progress) -> None:
        _ship(task, output, len(squares), progress)

    schedule = cosine(options.steps, options.warmup_steps, 0.02, by_time=True)
    return train("occlusion", task, folder, pace, schedule, True, after_save=ship).progress


def _ship(task: OcclusionTask, output: Path, faces: int, progress: Progress) -> None:
    network = folded(task.trained.averages["occlusion"])  # type: ignore[arg-type]
    digest = hashlib.sha256(json.dumps(asdict(task.options)).encode()).hexdigest()
    header = {
        "architecture": "cover_network",
        "arguments": network.arguments,
        "template": {"name": "ffhq512", "zoom": 1.5, "centre": [256, 285]},
        "range": "-1..1",
        "licence": "research and personal use: the crops are for research",
        "card": _CARD.format(
            count=sum(w.numel() for w in network.parameters()) / 1e6,
            faces=faces,
            seen=progress.images,
            minutes=progress.seconds / 60,
        ),
        "training_options_sha256": digest,
    }
    save_model_file(output, network, header, torch.float16)
