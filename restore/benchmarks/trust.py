"""What the statuses, the identity guard and the automatic fidelity stand on, measured.

    python -m restore.benchmarks trust --faces FACES --weights WEIGHTS

FACES: the folder with faces256-val.tar (or faces512-val.tar with --size 512). WEIGHTS: the folder
with mobilefacenet_casia_112x96.safetensors and squeezenet1_1_features.safetensors. Parts:
statuses, small, sharp, looks, fidelity, identity, cost.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from restore.benchmarks.trust_faces import JudgedFaces, judge_recipe, resized_faces
from restore.benchmarks.trust_measures import Measures, load_measures
from restore.benchmarks.trust_sharp import SPOILS, evidence_rows, sharp_rows
from restore.errors import InputError
from restore.pipeline.options import Fidelity, IdentityPolicy, TrustOptions
from restore.pipeline.restorer import Restorer

RECIPES = ("none", "mild", "gfpgan", "heavy", "old_photo")
STATUSES = ("already_good", "restored", "too_degraded", "occluded", "profile", "too_small")
EYES = (6, 8, 10, 12, 16, 24, 48)
WAYS = ("kept", "restored")
RAW = TrustOptions(identity="off", gentle=False, keep_good=False)
SAME_PERSON = 0.4
"""Cosine of MobileFaceNet from which two faces count as one person in these tables: 99 % of pairs
of different people in the validation crops lie below 0.33."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the asked parts as Markdown."""
    args = _parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    restorer = Restorer.load(
        args.model, backend=args.backend, threads=args.threads, identity_network=args.identity
    )
    for part in args.parts:
        print(f"\n### {part}: {args.count} faces of faces{args.size}-val, model {args.model}\n")
        PARTS[part](restorer, args)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "restore.benchmarks trust",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--faces", type=Path, required=True)
    add("--weights", type=Path, help="folder of the networks that measure (small, sharp, fidelity)")
    add("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    add("--recipes", nargs="+", default=list(RECIPES))
    add("--count", type=int, default=64)
    add(
        "--without", type=int, default=0, metavar="N",
        help="statuses: of other faces than those that --count N chooses",
    )  # fmt: skip
    add("--guard_fidelity", type=float, default=1.0, metavar="F", help="of the part identity")
    add("--size", type=int, default=256, choices=(256, 512))
    add("--model", default="default")
    add("--backend", default="auto")
    add("--identity", type=Path, help="identity network of the guard; default: the packaged one")
    add("--threads", type=int)
    return parser


def statuses(restorer: Restorer, args: argparse.Namespace) -> None:
    """Share of each status, by recipe; and how near the good faces are to the truth, in dB."""
    names = [status.replace("_", " ") for status in STATUSES]
    _head("recipe", *names, "PSNR of the good: mean", "least")
    for recipe in args.recipes:
        judged = judge_recipe(
            restorer, args.faces, args.size, args.count, recipe, without=args.without
        )
        shares = [f"{judged.share(status):.0%}" for status in STATUSES]
        good = judged.psnr("already_good")
        ends = [f"{np.mean(good):.1f}", f"{min(good):.1f}"] if good else ["–", "–"]
        _row(recipe, *shares, *ends)


def small(restorer: Restorer, args: argparse.Namespace) -> None:
    """Faces shrunk to a few pixels: is the restored one still the person of the good photo?"""
    measures = _measures(args)
    _head("px between the eyes", "restored", "share below 0.4", "enlarged", "estimated scale")
    for eyes in EYES:
        judged = resized_faces(restorer, args.faces, args.size, args.count, eyes, RAW)
        after, before = _cosines(measures, judged)
        scale = np.median([(face.degradation or {}).get("scale", np.nan) for face in judged.faces])
        lost = (after < SAME_PERSON).mean()
        _row(eyes, f"{after.mean():.2f}", f"{lost:.0%}", f"{before.mean():.2f}", f"{scale:.1f}")


def sharp(restorer: Restorer, args: argparse.Namespace) -> None:
    """Sharp faces of few px, enlarged: their own pixels or the restored face?"""
    measures = _measures(args)
    names = [f"{what} {way}" for what in ("LPIPS", "PSNR", "identity") for way in WAYS]
    _head("px between the eyes", "enlarged", *names, "left as it is", *SPOILS)
    rows = sharp_rows(restorer, args.faces, args.size, args.count, measures, RAW)
    for eyes, factor, found in rows:
        values = [
            f"{found[f'{what} {way}']:.{digits}f}"
            for what, digits in (("lpips", 3), ("psnr", 1), ("identity", 3))
            for way in WAYS
        ]
        shares = [f"{found[name]:.0%}" for name in ("good", *SPOILS)]
        _row(eyes, f"{factor}x", *values, *shares)


def looks(restorer: Restorer, args: argparse.Namespace) -> None:
    """What the verdict on sharp small faces stands on: 5, 50 and 95 % of each measure."""
    rows = evidence_rows(restorer, args.faces, args.size, args.count, RAW)
    _head("px between the eyes", "faces", *rows[0][2])
    for eyes, name, found in rows:
        _row(eyes, name, *(" / ".join(f"{v:.2f}" for v in three) for three in found.values()))


def fidelity(restorer: Restorer, args: argparse.Namespace) -> None:
    """Identity and LPIPS against the truth at 1, 0.8, 0.5 and auto."""
    measures = _measures(args)
    _head("recipe", "fidelity", "mean", "identity to the truth", "LPIPS", "PSNR")
    for recipe in args.recipes:
        for dial in (1.0, 0.8, 0.5, "auto"):
            _fidelity_row(restorer, args, measures, recipe, dial)


def _fidelity_row(
    restorer: Restorer,
    args: argparse.Namespace,
    measures: Measures,
    recipe: str,
    dial: Fidelity,
) -> None:
    judged = judge_recipe(restorer, args.faces, args.size, args.count, recipe, RAW, dial)
    after, _ = _cosines(measures, judged)
    restored = _restored(judged)
    used = np.mean([face.fidelity or 0.0 for face in judged.faces])
    lpips = measures.lpips(restored, judged.gt, judged.mask).mean()
    psnr = measures.psnr(restored, judged.gt, judged.mask).mean()
    _row(recipe, dial, f"{used:.2f}", f"{after.mean():.3f}", f"{lpips:.4f}", f"{psnr:.2f}")


def identity(restorer: Restorer, args: argparse.Namespace) -> None:
    """What the guard measures, and what its policies do."""
    if restorer.guard.embedder is None:
        raise InputError(f"{restorer.guard.absent}; or give one by --identity")
    least = _threshold(restorer)
    print(f"threshold {least:.2f}, network {restorer.guard.embedder.name}\n")
    _head("recipe", "policy", "mean", "5 %", "below", "blended", "kept", "strength")
    for recipe in args.recipes:
        for policy in ("report", "blend", "keep"):
            _identity_row(restorer, args, recipe, policy)


def _identity_row(
    restorer: Restorer, args: argparse.Namespace, recipe: str, policy: IdentityPolicy
) -> None:
    least = _threshold(restorer)
    options = TrustOptions(policy, least, gentle=False, keep_good=False)
    dial = args.guard_fidelity
    judged = judge_recipe(restorer, args.faces, args.size, args.count, recipe, options, dial)
    found = np.array([face.identity for face in judged.faces], float)
    strength = np.mean([face.strength for face in judged.faces])
    below = (found < least).mean()
    shares = [f"{judged.share(status):.0%}" for status in ("blended", "kept")]
    low = np.quantile(found, 0.05)
    _row(recipe, policy, f"{found.mean():.2f}", f"{low:.2f}", f"{below:.0%}", *shares,
         f"{strength:.2f}")  # fmt: skip


def _threshold(restorer: Restorer) -> float:
    return SAME_PERSON if restorer.guard.threshold is None else restorer.guard.threshold


def cost(restorer: Restorer, args: argparse.Namespace) -> None:
    """Milliseconds a face of the network and of what trust adds; ratios count, not the machine."""
    from restore.faces.align import face_mask
    from restore.faces.colour import add_grain
    from restore.pipeline.policies import examine

    judged = judge_recipe(restorer, args.faces, args.size, min(args.count, 8), "gfpgan", RAW)
    faces = judged.faces
    crops = [face.crop for face in faces if face.crop is not None]
    mask = face_mask(restorer.crop_size, restorer.template)
    place = [(np.eye(2, 3), mask)]
    random = np.random.default_rng(0)
    steps: dict[str, Callable[[int], object]] = {
        "network": lambda i: restorer.runtime.run(crops[i][None], 1.0),
        "looks: pose, quality, cover": lambda i: examine(faces[i], judged.lq[i], restorer.template),
        "grain (off by default)": lambda i: add_grain(crops[i].copy(), crops[i], place, random),
    }
    if restorer.guard.embedder is not None:
        steps["identity"] = lambda i: restorer.guard.cosines([crops[i]], [crops[i]])
    _head("step", "ms a face", "of the network")
    base = 0.0
    for name, step in steps.items():
        step(0)
        taken = []
        for i in range(len(crops)):
            start = time.perf_counter()
            step(i)
            taken.append(time.perf_counter() - start)
        median = float(np.median(taken))
        base = base or median
        _row(name, f"{median * 1000:.1f}", f"{median / base:.1%}")


PARTS: dict[str, Callable[[Restorer, argparse.Namespace], None]] = {
    "statuses": statuses,
    "small": small,
    "sharp": sharp,
    "looks": looks,
    "fidelity": fidelity,
    "identity": identity,
    "cost": cost,
}


def _measures(args: argparse.Namespace) -> Measures:
    if args.weights is None:
        raise InputError(
            "these parts need --weights FOLDER, or leave them out: small, sharp, fidelity"
        )
    return load_measures(args.weights)


def _restored(judged: JudgedFaces) -> np.ndarray:
    return np.stack([face.restored for face in judged.faces if face.restored is not None])


def _cosines(measures: Measures, judged: JudgedFaces) -> tuple[np.ndarray, np.ndarray]:
    """Cosine to the truth of the restored faces and of what went in."""
    went_in = np.stack([face.crop for face in judged.faces if face.crop is not None])
    return (
        measures.cosine(_restored(judged), judged.gt),
        measures.cosine(went_in, judged.gt),
    )


def _head(*names: str) -> None:
    print(f"| {' | '.join(names)} |\n|---|{'---:|' * (len(names) - 1)}")


def _row(*values: object) -> None:
    print(f"| {' | '.join(str(value) for value in values)} |", flush=True)
