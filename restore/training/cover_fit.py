"""`fit_cover_network`: the cover network from random weights to its shipped file, by the clock."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

from restore.checkpoints.model_file import save_model_file
from restore.networks.occlusion import CoverNetwork, folded
from restore.options.training import CosineOptions
from restore.runtime.memory import keep_freed_memory
from restore.runtime.precision import cpu_precision
from restore.training.cover_batches import CoverBatches, read_squares
from restore.training.ema import averaged_copy, ema_update
from restore.training.progress import Progress
from restore.training.schedules import Schedule
from restore.training.state import load_state, newest_state, save_state
from restore.training.stop import Clock, StopSignals, TrainingError

_log = logging.getLogger(__name__)

_CARD = """# The cover network

Says where on an aligned face something lies that is no face: {count:.2f} million weights, 64 px in,
a map of 16x16 out. Trained from random weights by this project on {faces:,} face crops with painted
hands, masks, glasses, cloth and objects before them, clean and degraded: {seen:,} seen in
{minutes:.0f} minutes.

- Half of the crops are All-Age-Faces (mostly Asian faces of 2 to 80 years).
- Licence: research and personal use, like the crops.
- Measured: docs/trust.md.
"""


@dataclass(frozen=True)
class CoverFitOptions:
    """How the cover network is trained; the packaged one by the defaults."""

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


class CoverFit:
    """A cover network in training with everything that its state holds."""

    def __init__(self, options: CoverFitOptions) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.half = cpu_precision(options.precision) == "bfloat16"
        network = CoverNetwork(options.widths, norm=True)
        self.network = network.to(memory_format=torch.channels_last)
        self.average: Any = averaged_copy(self.network)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), options.lr, weight_decay=options.weight_decay
        )
        curve = CosineOptions(type="CosineAnnealingLR", min_factor=0.02, by="time")
        self.schedule = Schedule(curve, options.steps, options.warmup_steps)
        self.progress = Progress()

    def step(self, batches: CoverBatches, share: float) -> float:
        """One step; `share` of the run has passed. Returns the loss."""
        options = self.options
        batch = batches.batch(self.progress.step)
        rate = options.lr * self.schedule.factor(self.progress.step, share)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        faces = batch.faces.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            logits = self.network(faces)
        loss = F.binary_cross_entropy_with_logits(logits.float(), batch.covered)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        if not torch.isfinite(norm):
            raise TrainingError("a gradient is not finite; resume with a lower rate or fp32")
        self.optimiser.step()
        decay = min(options.ema_decay, (1 + self.progress.step) / (10 + self.progress.step))
        ema_update(self.average, self.network, decay)
        self.progress.step += 1
        self.progress.images += len(batch.faces)
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs: draws come from the step alone."""
        parts = {name: getattr(self, name).state_dict() for name in _PARTS}
        return {**parts, "progress": self.progress.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        for name in (*_PARTS, "progress"):
            getattr(self, name).load_state_dict(state[name])


_PARTS = ("network", "average", "optimiser")


def fit_cover_network(
    stores: Sequence[Path], output: Path, states: Path, options: CoverFitOptions
) -> float:
    """Train on the crops of `stores` (template zoomed 1.2), write the shipped file; last loss.

    Complete states go to the folder `states`; a run goes on from the newest one that it finds.
    An interrupted run writes the file too, of what it has learnt so far; its card says how much.
    """
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    squares = read_squares(stores)
    run = CoverFit(options)
    newest = newest_state(states)
    if newest is not None:
        run.load(load_state(newest))
        _log.info("goes on from %s, step %d", newest, run.progress.step)
    loss = _loop(run, CoverBatches(squares, options.batch_size, options.seed), states)
    _ship(run, output, len(squares))
    return loss


def _loop(run: CoverFit, batches: CoverBatches, states: Path) -> float:
    options, progress = run.options, run.progress
    before, smooth, saved = progress.seconds, 0.0, 0.0
    clock = Clock(options.minutes - before / 60)
    with StopSignals() as stop, tqdm(desc="steps", initial=progress.step, file=sys.stderr) as bar:
        while progress.step < options.steps and not clock.spent() and not stop.received:
            share = min(1.0, (before + clock.seconds()) / (60 * options.minutes))
            loss = run.step(batches, share)
            smooth = loss if not smooth else 0.98 * smooth + 0.02 * loss
            progress.seconds = before + clock.seconds()
            bar.update(1)
            bar.set_postfix(loss=f"{smooth:.4f}")
            if clock.seconds() - saved > 60 * options.save_minutes:
                saved = clock.seconds()
                save_state(states, progress.step, run.state())
    save_state(states, progress.step, run.state())
    return smooth


def _ship(run: CoverFit, output: Path, faces: int) -> None:
    network = folded(run.average)
    digest = hashlib.sha256(json.dumps(asdict(run.options)).encode()).hexdigest()
    header = {
        "architecture": "cover_network",
        "arguments": network.arguments,
        "template": {"name": "ffhq512", "zoom": 1.5, "centre": [256, 285]},
        "range": "-1..1",
        "licence": "research and personal use: the crops are for research",
        "card": _CARD.format(
            count=sum(w.numel() for w in network.parameters()) / 1e6,
            faces=faces,
            seen=run.progress.images,
            minutes=run.progress.seconds / 60,
        ),
        "training_options_sha256": digest,
    }
    save_model_file(output, network, header, torch.float16)
