"""`distil`: the identity student learns from a teacher's vectors, by the clock, resumable."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from restore.checkpoints.model_file import save_model_file
from restore.networks.identity import IdentityStudent, folded
from restore.options.schema import dump_options
from restore.options.training import CosineOptions
from restore.runtime.memory import keep_freed_memory
from restore.training.ema import averaged_copy, ema_update
from restore.training.identity_batches import IdentityBatches
from restore.training.identity_losses import identity_losses
from restore.training.identity_options import IdentityOptions, load_identity_options
from restore.training.identity_pool import MARGIN, IdentityPool, load_teacher, make_pool
from restore.training.log import CsvSink
from restore.training.progress import Progress
from restore.training.schedules import Schedule
from restore.training.state import load_state, newest_state, save_state
from restore.training.stop import Clock, StopSignals, TrainingError

_log = logging.getLogger(__name__)

HEADER = {
    "architecture": "identity_student",
    "template": {"name": "ffhq512", "zoom": 1.0, "centre": [256, 256]},
    "range": "-1..1",
    "licence": "research and personal use: teacher and crops are for research",
}


class Distillation:
    """A student in training with everything that its state holds."""

    def __init__(self, options: IdentityOptions, pool: IdentityPool, val: IdentityPool) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.batches, self.val = IdentityBatches(pool, options), val
        self.bank = torch.from_numpy(pool.targets[:])
        network = options.network
        self.student = IdentityStudent(
            network.dimensions, network.widths, network.blocks, network.head, norm=True
        ).to(memory_format=torch.channels_last)
        self.to_map = nn.Conv2d(network.widths[-1], pool.maps.shape[2], 1)
        self.average: Any = averaged_copy(self.student)
        self.weights = [*self.student.parameters(), *self.to_map.parameters()]
        decayed = [w for w in self.weights if w.ndim > 1]
        rest = [w for w in self.weights if w.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": options.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, options.lr, betas=(0.9, 0.99))
        curve = CosineOptions(type="CosineAnnealingLR", min_factor=options.min_factor, by="time")
        self.schedule = Schedule(curve, options.max_steps, options.warmup_steps)
        self.progress = Progress()

    def time_share(self, seconds: float) -> float:
        """How much of the run has passed, all runs together: of its minutes, or of its steps."""
        if self.options.rate_by == "steps":
            return min(1.0, self.progress.step / self.options.max_steps)
        return min(1.0, (self.progress.seconds + seconds) / (60 * self.options.max_minutes))

    def step(self, share: float) -> dict[str, float]:
        """One step; `share` of the run has passed. Returns the losses."""
        options = self.options
        batch = self.batches.batch(self.progress.step)
        rate = options.lr * self.schedule.factor(self.progress.step, share)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.student.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            features = self.student.features(batch.faces)
            vectors, maps = self.student.embed(features), self.to_map(features)
        loss, parts = identity_losses(
            vectors, maps, batch.targets, batch.maps, self.bank, options.losses,
            options.losses.map * (1 - share),
        )  # fmt: skip
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.weights, 5.0)
        if not torch.isfinite(norm):
            raise TrainingError(
                "a gradient is not finite; the last saved state is good: resume with a lower lr "
                "or precision fp32"
            )
        self.optimiser.step()
        decay = min(options.ema_decay, (1 + self.progress.step) / (10 + self.progress.step))
        ema_update(self.average, self.student, decay)
        self.progress.step += 1
        self.progress.images += len(batch.faces)
        return {name: float(value.detach()) for name, value in parts.items()} | {"lr": rate}

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
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

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs: draws come from the step alone."""
        return {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "to_map": self.to_map.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": self.progress.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        for name in ("student", "average", "to_map", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.progress.load_state_dict(state["progress"])


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
    run = Distillation(options, pool, val)
    newest = newest_state(folder / "training_states") if auto_resume else None
    if newest is not None:
        run.load(load_state(newest))
    _loop(run, folder)
    return _export(run, folder / "identity_latest.safetensors")


def _loop(run: Distillation, folder: Path) -> None:
    options, progress = run.options, run.progress
    before, csv = progress.seconds, CsvSink(folder / "metrics.csv")
    clock = Clock((60 * options.max_minutes - before) / 60)
    with StopSignals() as stop, tqdm(desc="steps", initial=progress.step, file=sys.stderr) as bar:
        while progress.step < options.max_steps and not clock.spent() and not stop.received:
            progress.seconds = before
            losses = run.step(run.time_share(clock.seconds()))
            progress.seconds = before + clock.seconds()
            bar.update(1)
            if progress.step % options.print_freq == 0:
                bar.set_postfix({k: f"{v:.3g}" for k, v in losses.items()})
                csv.write("train", progress, losses)
            if progress.step % options.val_freq == 0:
                csv.write("val", progress, run.validate())
            if progress.step % options.save_freq == 0:
                save_state(folder / "training_states", progress.step, run.state())
    save_state(folder / "training_states", progress.step, run.state())
    found = run.validate()
    csv.write("val", progress, found)
    csv.close()
    _log.info("step %d, %d faces: %s", progress.step, progress.images, found)


def _export(run: Distillation, path: Path) -> Path:
    digest = hashlib.sha256(dump_options(run.options).encode()).hexdigest()
    header = {
        **HEADER,
        "arguments": folded(run.average).arguments,
        "card": f"# Identity student\n\nIn training: {run.progress.images} faces seen.\n",
        "training": f"{run.progress.images:,} faces in {run.progress.seconds / 60:.0f} minutes",
        "training_options_sha256": digest,
    }
    save_model_file(path, folded(run.average), header, torch.float32)
    return path


def _inner(pool: IdentityPool, variant: int) -> Tensor:
    views = pool.views[:, variant, MARGIN:-MARGIN, MARGIN:-MARGIN]
    return torch.from_numpy(views.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
