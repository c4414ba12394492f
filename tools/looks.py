"""Fits the odds that a face's pixels are damaged: `python -m tools looks --crops STORE -o FILE`."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from benchmarks.damages import DAMAGES, Photo, jpeg, noise, place
from restore.checkpoints.weights_file import write_tensors
from restore.data.stores import open_store
from restore.faces.looks import face_looks

CARD = (
    "The odds that a face's pixels in a photo are damaged, by 79 statistics of them; two hidden "
    "layers of 24. Fitted by python -m tools looks to training crops of 512 px and 17 kinds of "
    "damage."
)
TILTS = (0, 0, 2, 4, 8, 15, 30, -3, -10, -25)


def _clean(photo: Photo, random: np.random.Generator) -> Photo:
    """What a good photo may be: of JPEG 92 or more, with a little noise, paler or darker."""
    kind = random.uniform()
    if kind < 0.3:
        photo = jpeg(photo, int(random.integers(92, 99)), random)
    elif kind < 0.45:
        photo = noise(photo, random.uniform(0.5, 1.5), random)
    if random.uniform() < 0.25:
        paler = (photo - 128.0) * random.uniform(0.75, 1.2) + 128 + random.uniform(-20, 20)
        photo = np.clip(paler, 0, 255).astype(np.uint8)
    return photo


def samples(
    crop: Photo, damaged: int, clean: int, random: np.random.Generator
) -> tuple[list[np.ndarray], list[float]]:
    """Statistics of one crop (template zoomed 1.2) laid into photos, and 1 where it was damaged."""
    found: list[np.ndarray] = []
    truth: list[float] = []
    for index in range(damaged + clean):
        side = min(float(np.exp(random.uniform(np.log(50), np.log(590)))), 512.0)
        laid = place(crop, 1.2, side, float(random.choice(TILTS)), random)
        photo = _clean(laid.photo, random)
        if index < damaged:
            damage = DAMAGES[str(random.choice(list(DAMAGES)))]
            low, high = min(damage.strengths), max(damage.strengths)
            strength = float(np.exp(random.uniform(np.log(low), np.log(high))))
            photo = damage.apply(laid.photo, strength, random)
        looks, _ = face_looks(photo, laid.matrix, laid.size, laid.template)
        if looks is not None:
            found.append(looks)
            truth.append(float(index < damaged))
    return found, truth


def fit(looks: np.ndarray, truth: np.ndarray, steps: int = 3500) -> dict[str, torch.Tensor]:
    """The network's numbers; 0 is where 95.5 % of the clean ones lie below."""
    mean, spread = looks.mean(0), looks.std(0) + 1e-6
    x = torch.tensor(np.clip((looks - mean) / spread, -5, 5), dtype=torch.float32)
    y = torch.tensor(truth, dtype=torch.float32)
    weight = torch.where(y > 0, 1 / y.mean(), 1 / (1 - y.mean()))
    sizes = (x.shape[1], 24, 24, 1)
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    network = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for _ in range(steps):
        some = torch.randint(0, len(x), (512,))
        shaken = x[some] + 0.12 * torch.randn(len(some), x.shape[1])
        shaken[:, 0] += 0.5 * torch.randn(len(some))  # no size has a look of its own
        loss = F.binary_cross_entropy_with_logits(
            network(shaken)[:, 0], y[some] * 0.98 + 0.01, weight[some]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pace.step()
    with torch.no_grad():
        shift: torch.Tensor = torch.quantile(network(x[y == 0])[:, 0], 0.955)
        layers[2].bias.sub_(shift)
    tensors = {
        "mean": torch.tensor(mean, dtype=torch.float32),
        "spread": torch.tensor(spread, dtype=torch.float32),
    }
    for index, layer in enumerate(layers):
        tensors[f"weight{index}"] = layer.weight.detach()
        tensors[f"bias{index}"] = layer.bias.detach()
    return tensors


def main(argv: Sequence[str] | None = None) -> int:
    """Sample, fit and write."""
    parser = argparse.ArgumentParser("python -m tools looks", description=__doc__)
    parser.add_argument("--crops", type=Path, required=True, help="store of crops of 512 px")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--damaged", type=int, default=9, help="samples of each crop")
    parser.add_argument("--clean", type=int, default=5)
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    store = open_store(args.crops)
    looks: list[np.ndarray] = []
    truth: list[float] = []
    for number, key in enumerate(tqdm(sorted(store.keys), disable=None)):
        random = np.random.default_rng(number)
        some, known = samples(store.image(key), args.damaged, args.clean, random)
        looks += some
        truth += known
    tensors = fit(np.stack(looks), np.array(truth))
    write_tensors(args.output, tensors, {"format": "restore-looks/1", "card": CARD})
    return 0
