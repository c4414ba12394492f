"""What statuses, identity guard, fidelity and the covered-face network stand on, measured.

    python -m benchmarks trust --faces FACES --weights WEIGHTS

FACES: the folder with faces256-val.tar (or faces512-val.tar with --size 512). WEIGHTS: the folder
with mobilefacenet_casia_112x96.safetensors and squeezenet1_1_features.safetensors (small, sharp,
fidelity).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.damages import DAMAGES as BAD_LOOKS
from benchmarks.damages import Placed, place
from benchmarks.faces import batches, markdown, open_faces, pixels, planes, resized
from restore.data.stores import open_store
from restore.errors import InputError
from restore.faces.align import align_face, face_mask
from restore.faces.colour import add_grain
from restore.geometry import ffhq_template
from restore.losses.feature_files import load_feature_network, load_lpips_heads
from restore.metrics.paired import lpips_measure
from restore.pipeline.options import Fidelity, TrustOptions
from restore.pipeline.policies import evidence, examine
from restore.pipeline.restorer import Restorer
from restore.pipeline.results import RestoredFace
from restore.runtime.identity import load_identity
from restore.trust.occlusion import OcclusionDetector, packaged_occlusion_detector
from restore.trust.verdict import Limits, is_good, judge

RECIPES = ("none", "mild", "gfpgan", "heavy", "old_photo")
STATUSES = ("already_good", "restored", "too_degraded", "occluded", "profile", "too_small")
SMALL_EYES, SHARP_EYES, FACTORS = (6, 8, 10, 12, 16, 24, 48), (10, 14, 20, 28, 40), (1, 2, 4)
SEEN = 256
"""px of the frame that small sharp faces are looked at in; smaller ones are enlarged by cubics."""
RAW = TrustOptions(identity="off", gentle=False, keep_good=False)
SAME_PERSON = 0.4
"""Cosine of MobileFaceNet from which two faces count as one person in these tables: 99 % of pairs
of different people in the validation crops lie below 0.33."""
OCCLUDERS = ("mask over nose and mouth", "dark glasses", "half a face", "hand before the mouth")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the asked parts as Markdown."""
    args = _parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.photos is not None:
        _most_covered(_cover_network(args), args.photos, args.sheet)
        return 0
    if args.faces is None:
        raise InputError("--faces FOLDER is missing: the one with faces256-val.tar")
    restorer = Restorer.load(
        args.model, backend=args.backend, threads=args.threads, identity_network=args.identity
    )
    for part in args.parts:
        print(f"\n### {part}: {args.count} faces of faces{args.size}-val, model {args.model}\n")
        print(PARTS[part](restorer, args), flush=True)
    return 0


@dataclass(frozen=True, eq=False)
class JudgedFaces:
    """Crops of one recipe, uint8 RGB [n,s,s,3], and what the pipeline said of each."""

    lq: np.ndarray
    gt: np.ndarray
    mask: Tensor
    faces: tuple[RestoredFace, ...]

    def share(self, status: str) -> float:
        """Share of the faces with that status."""
        return sum(face.status == status for face in self.faces) / max(len(self.faces), 1)

    @property
    def restored(self) -> np.ndarray:
        """What came out, uint8 [n,s,s,3]."""
        return np.stack([face.restored for face in self.faces if face.restored is not None])


def judged_faces(
    restorer: Restorer,
    args: argparse.Namespace,
    recipe: str = "none",
    trust: TrustOptions | None = None,
    fidelity: Fidelity = None,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> JudgedFaces:
    """Held-out faces degraded by a recipe, each restored as an aligned crop.

    `change`: what is done to each degraded crop, uint8 RGB, first.
    """
    lq, gt, masks, faces = [], [], [], []
    held_out = open_faces(args.faces, args.size, args.count, without=args.without)
    for batch in batches(held_out, recipe, 4):
        for crop in pixels(batch.lq):
            lq.append(crop if change is None else change(crop))
            done = restorer.restore(lq[-1], aligned=True, trust=trust, fidelity=fidelity)
            faces.append(done.faces[0])
        gt.append(pixels(batch.gt))
        masks.append(batch.mask)
    return JudgedFaces(np.stack(lq), np.concatenate(gt), torch.cat(masks), tuple(faces))


def shrink_to(eyes: float, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Averages a crop of `size` px down to so many px between the eyes."""
    template = ffhq_template(size)
    side = max(round(size * eyes / float(np.linalg.norm(template[1] - template[0]))), 4)
    return lambda crop: resized(crop, side)


@dataclass(frozen=True)
class Measures:
    """Functions of (restored, gt[, mask [n,1,s,s]]) -> [n]; crops uint8 RGB [n,s,s,3], any s."""

    cosine: Callable[[np.ndarray, np.ndarray], np.ndarray]
    lpips: Callable[[np.ndarray, np.ndarray, Tensor], np.ndarray]


def load_measures(weights: Path | None) -> Measures:
    """MobileFaceNet and SqueezeNet's LPIPS from the folder of weights."""
    names = ("mobilefacenet_casia_112x96.safetensors", "squeezenet1_1_features.safetensors")
    if weights is None or not all((weights / name).is_file() for name in names):
        raise InputError(f"small, sharp and fidelity need {' and '.join(names)} in --weights")
    network = load_identity(weights / names[0])
    distance = lpips_measure(load_feature_network(weights / names[1]), load_lpips_heads("squeeze"))

    def lpips(restored: np.ndarray, gt: np.ndarray, mask: Tensor) -> np.ndarray:
        pairs = zip(restored, gt, mask, strict=True)
        return torch.cat(
            [distance(_signed(resized(a, len(b))), _signed(b), m[None]) for a, b, m in pairs]
        ).numpy()

    def cosine(restored: np.ndarray, gt: np.ndarray) -> np.ndarray:
        return np.asarray((network.embed(restored) * network.embed(gt)).sum(1))

    return Measures(cosine, lpips)


def psnr(restored: np.ndarray, gt: np.ndarray, mask: Tensor) -> np.ndarray:
    """dB `[n]` within the mask, at most 60."""
    found = []
    for a, b, m in zip(restored, gt, mask.numpy(), strict=True):
        error = (resized(a, len(b)).astype(np.float64) - b) ** 2
        mean = (error * m[0][..., None]).sum() / (3 * m.sum())
        found.append(min(10 * np.log10(255**2 / max(mean, 1e-9)), 60.0))
    return np.array(found)


def statuses(restorer: Restorer, args: argparse.Namespace) -> str:
    """Share of each status, by recipe; and how near the good faces are to the truth, in dB."""
    body = []
    for recipe in args.recipes:
        judged = judged_faces(restorer, args, recipe)
        good = np.array([face.status == "already_good" for face in judged.faces])
        near = psnr(judged.lq, judged.gt, judged.mask)[good]
        ends = [f"{near.mean():.1f}", f"{near.min():.1f}"] if good.any() else ["–", "–"]
        body.append([recipe, *(f"{judged.share(status):.0%}" for status in STATUSES), *ends])
    names = [status.replace("_", " ") for status in STATUSES]
    return markdown(["recipe", *names, "PSNR of the good: mean", "least"], body)


def small(restorer: Restorer, args: argparse.Namespace) -> str:
    """Faces shrunk to a few pixels: is the restored one still the person of the good photo?"""
    measures, body = load_measures(args.weights), []
    for eyes in SMALL_EYES:
        judged = judged_faces(restorer, args, trust=RAW, change=shrink_to(eyes, args.size))
        after = measures.cosine(judged.restored, judged.gt)
        went_in = np.stack([face.crop for face in judged.faces if face.crop is not None])
        before = measures.cosine(went_in, judged.gt).mean()
        scale = np.median([(face.degradation or {}).get("scale", np.nan) for face in judged.faces])
        lost = (after < SAME_PERSON).mean()
        body.append([eyes, f"{after.mean():.2f}", f"{lost:.0%}", f"{before:.2f}", f"{scale:.1f}"])
    heads = ["px between the eyes", "restored", "share below 0.4", "enlarged", "estimated scale"]
    return markdown(heads, body)


def _blurred(crop: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), 1.0))


def _jpeg(crop: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


def _noisy(crop: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 8, crop.shape)
    return np.clip(crop + noise, 0, 255).astype(np.uint8)


DAMAGES = {"blur 1 px": _blurred, "JPEG 40": _jpeg, "noise 8": _noisy}
"""What must not count as sharp, done to the small photo."""


def sharp(restorer: Restorer, args: argparse.Namespace) -> str:
    """Sharp faces of few px, enlarged: is the photo's own face nearer to the truth than a restored
    one? "left as it is": by the verdict; then the same faces damaged, which ought to be 0."""
    measures, body = load_measures(args.weights), []
    for eyes in SHARP_EYES:
        shrink = shrink_to(eyes, args.size)
        judged = judged_faces(restorer, args, trust=RAW, change=shrink)
        damaged = [
            judged_faces(restorer, args, trust=RAW, change=_both(shrink, damage))
            for damage in DAMAGES.values()
        ]
        side = judged.lq.shape[1]
        for factor in FACTORS:
            shown = side * factor
            if shown > args.size:
                continue
            truth = np.stack([_looked_at(gt, shown) for gt in judged.gt])
            ways = [
                np.stack([_looked_at(x, shown) for x in some])
                for some in (judged.lq, judged.restored)
            ]
            mask = F.interpolate(judged.mask, (SEEN, SEEN), mode="nearest")
            cells = [f"{measures.lpips(way, truth, mask).mean():.3f}" for way in ways]
            cells += [f"{psnr(way, truth, mask).mean():.1f}" for way in ways]
            cells += [f"{measures.cosine(way, truth).mean():.3f}" for way in ways]
            left = [_left_as_it_is(some, restorer, factor) for some in (judged, *damaged)]
            body.append([eyes, f"{factor}x", *cells, *(f"{share:.0%}" for share in left)])
    names = [
        f"{what} {way}" for what in ("LPIPS", "PSNR", "identity") for way in ("kept", "restored")
    ]
    return markdown(["px between the eyes", "enlarged", *names, "left as it is", *DAMAGES], body)


def _both(
    first: Callable[[np.ndarray], np.ndarray], second: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda crop: second(first(crop))


def _left_as_it_is(judged: JudgedFaces, restorer: Restorer, factor: float) -> float:
    """Share of the faces that would be left as they are, were they shown so much larger."""
    found = []
    for face, crop in zip(judged.faces, judged.lq, strict=True):
        seen = evidence(face, (crop.shape[1], crop.shape[0]), restorer.template, factor)
        found.append(judge(seen).status == "already_good")
    return float(np.mean(found))


def _looked_at(crop: np.ndarray, side: int) -> np.ndarray:
    """The crop at the size of the shown photo, then as it is looked at."""
    return resized(resized(crop, side, cv2.INTER_LANCZOS4), SEEN)


def fidelity(restorer: Restorer, args: argparse.Namespace) -> str:
    """Identity and LPIPS against the truth at 1, 0.8, 0.5 and auto."""
    measures, body = load_measures(args.weights), []
    dials: tuple[Fidelity, ...] = (1.0, 0.8, 0.5, "auto")
    for recipe in args.recipes:
        for dial in dials:
            judged = judged_faces(restorer, args, recipe, RAW, dial)
            after = measures.cosine(judged.restored, judged.gt).mean()
            used = np.mean([face.fidelity or 0.0 for face in judged.faces])
            lpips = measures.lpips(judged.restored, judged.gt, judged.mask).mean()
            decibel = psnr(judged.restored, judged.gt, judged.mask).mean()
            numbers = [f"{used:.2f}", f"{after:.3f}", f"{lpips:.4f}", f"{decibel:.2f}"]
            body.append([recipe, dial, *numbers])
    return markdown(["recipe", "fidelity", "mean", "identity to the truth", "LPIPS", "PSNR"], body)


def guard(restorer: Restorer, args: argparse.Namespace) -> str:
    """What the identity guard measures, and what its policies do."""
    if restorer.guard.embedder is None:
        raise InputError(f"{restorer.guard.absent}; or give one by --identity")
    least = SAME_PERSON if restorer.guard.threshold is None else restorer.guard.threshold
    body = []
    for recipe in args.recipes:
        for policy in ("report", "blend", "keep"):
            options = TrustOptions(policy, least, gentle=False, keep_good=False)
            judged = judged_faces(restorer, args, recipe, options, args.guard_fidelity)
            found = np.array([face.identity for face in judged.faces], float)
            strength = np.mean([face.strength for face in judged.faces])
            shares = [(found < least).mean(), judged.share("blended"), judged.share("kept")]
            numbers = [f"{found.mean():.2f}", f"{np.quantile(found, 0.05):.2f}"]
            body.append(
                [recipe, policy, *numbers, *(f"{s:.0%}" for s in shares), f"{strength:.2f}"]
            )
    heads = ["recipe", "policy", "mean", "5 %", "below", "blended", "kept", "strength"]
    name = restorer.guard.embedder.name
    return f"threshold {least:.2f}, network {name}\n\n" + markdown(heads, body)


def cost(restorer: Restorer, args: argparse.Namespace) -> str:
    """Milliseconds a face of the network and of what trust adds; ratios count, not the machine."""
    judged = judged_faces(restorer, args, "gfpgan", RAW)
    crops = [face.crop for face in judged.faces if face.crop is not None][:8]
    place = [(np.eye(2, 3), face_mask(restorer.crop_size, restorer.template))]
    random = np.random.default_rng(0)
    steps: dict[str, Callable[[int], object]] = {
        "network": lambda i: restorer.runtime.run(crops[i][None], 1.0),
        "looks: pose, quality, cover": lambda i: examine(
            judged.faces[i], judged.lq[i], restorer.template
        ),
        "grain (off by default)": lambda i: add_grain(crops[i].copy(), crops[i], place, random),
    }
    if restorer.guard.embedder is not None:
        steps["identity"] = lambda i: restorer.guard.cosines([crops[i]], [crops[i]])
    medians = {}
    for name, step in steps.items():
        step(0)
        taken = []
        for i in range(len(crops)):
            start = time.perf_counter()
            step(i)
            taken.append(time.perf_counter() - start)
        medians[name] = float(np.median(taken))
    base = medians["network"]
    body = [[name, f"{ms * 1000:.1f}", f"{ms / base:.1%}"] for name, ms in medians.items()]
    return markdown(["step", "ms a face", "of the network"], body)


def cover(restorer: Restorer, args: argparse.Namespace) -> str:
    """Share of the oval that counts as covered: open faces, and with things painted before them by
    other means than those that the network learnt from (`restore.degradation.occluders`)."""
    del restorer
    detector, template, least = _cover_network(args), ffhq_template(256), Limits().most_covered
    sets: list[tuple[str, str, int | None]] = [(recipe, recipe, None) for recipe in args.recipes]
    sets += [(f"mild, {name}", "mild", kind) for kind, name in enumerate(OCCLUDERS)]
    body = []
    for name, recipe, kind in sets:
        random, shares = np.random.default_rng(0), []
        held_out = open_faces(args.faces, 256, args.count, without=args.without)
        for batch in batches(held_out, recipe, 8):
            for crop in pixels(batch.lq):
                crop = crop if kind is None else occlude(crop, kind, random)
                shares.append(detector.covered(crop, template))
        found = np.array(shares)
        numbers = [f"{np.median(found):.2f}", f"{np.quantile(found, 0.95):.2f}"]
        body.append([name, *numbers, f"{(found > least).mean():.0%}"])
    return markdown(["faces", "median", "95 %", f"above {least:.2f}"], body)


def _cover_network(args: argparse.Namespace) -> OcclusionDetector:
    detector = OcclusionDetector(args.network) if args.network else packaged_occlusion_detector()
    if detector is None:
        raise InputError("there is no packaged cover network; give one by --network FILE")
    return detector


def occlude(crop: np.ndarray, kind: int, random: np.random.Generator) -> np.ndarray:
    """A crop [256,256,3] in the FFHQ frame with something painted over it, OCCLUDERS[kind]."""
    crop = np.ascontiguousarray(crop).copy()
    colour = tuple(int(v) for v in random.integers(0, 256, 3))
    if kind == 0:
        cv2.ellipse(crop, (128, 178), (48, 34), 0, 0, 360, colour, -1, cv2.LINE_AA)
    elif kind == 1:
        for x in (97, 159):
            cv2.ellipse(crop, (x, 120), (28, 20), 0, 0, 360, (15, 15, 18), -1, cv2.LINE_AA)
    elif kind == 2:
        cv2.rectangle(crop, (128, 60), (230, 255), colour, -1)
    else:
        skin = tuple(float(v) * 0.9 for v in crop[150:170, 90:110].reshape(-1, 3).mean(0))
        cv2.ellipse(crop, (150, 180), (60, 22), -35, 0, 360, skin, -1, cv2.LINE_AA)
    return crop


def _most_covered(detector: OcclusionDetector, photos: Path, path: Path) -> None:
    """A sheet of the 40 most covered faces of a store and of 40 around the limit, to look at."""
    store, found = open_store(photos), []
    for key in sorted(store.keys):
        crop = store.image(key)
        template = ffhq_template(crop.shape[0], 1.2, (256.0, 280.0))
        found.append((detector.covered(crop, template), key))
    found.sort(reverse=True)
    least = Limits().most_covered
    above = sum(share > least for share, _ in found)
    print(f"{above} of {len(found)} faces above {least:.2f}")
    middle = max(0, min(above, len(found) - 20) - 20)
    chosen = [*found[:40], *found[middle : middle + 40]]
    cells = [resized(store.image(key), 96) for _, key in chosen]
    rows = [np.concatenate(cells[i : i + 20], 1) for i in range(0, len(cells) - 19, 20)]
    Image.fromarray(np.concatenate(rows)).save(path, quality=88)


LOOK_SIDES, LOOK_TILTS = (64, 112, 200, 400), (0, 4, 15)
"""px of the face's frame in the photo, and degrees."""


def looks(restorer: Restorer, args: argparse.Namespace) -> str:
    """Damaged faces that count as good by the photo's own pixels: kinds x strengths x tilts and
    sizes; clean ones, which should. Faces 512 px; all that `judge` knows but for the network."""
    del restorer
    keys = open_faces(args.faces, 512, args.count, without=args.without)
    crops = [keys.store.image(name) for name in keys.names]
    places = [(side, tilt) for tilt in LOOK_TILTS for side in LOOK_SIDES]
    kinds: list[tuple[str, float]] = [("clean", 0.0)]
    kinds += [(name, strength) for name, one in BAD_LOOKS.items() for strength in one.strengths]
    good = np.zeros((len(kinds), len(places)))
    for number, crop in enumerate(crops):
        for column, (side, tilt) in enumerate(places):
            random = np.random.default_rng((number, column))
            laid = place(crop, 1.2, side, tilt, random)
            for row, (name, strength) in enumerate(kinds):
                photo = laid.photo
                if name != "clean":
                    photo = BAD_LOOKS[name].apply(photo, strength, random)
                good[row, column] += _looks_good(photo, laid)
    good /= len(crops)
    body = [
        [name, f"{strength:g}" if strength else "", *(f"{share:.0%}" for share in shares)]
        for (name, strength), shares in zip(kinds, good, strict=True)
    ]
    heads = [f"{side} px, {tilt}°" for side, tilt in places]
    return markdown(["damage", "strength", *heads], body)


def _looks_good(photo: np.ndarray, laid: Placed) -> bool:
    face = RestoredFace(
        np.array([0.0, 0.0, *photo.shape[1::-1]]),
        laid.landmarks,
        1.0,
        "restored",
        crop=align_face(photo, laid.landmarks, laid.template, laid.size).crop,
        matrix=laid.matrix,
    )
    face = examine(face, photo, laid.template)
    return is_good(evidence(face, photo.shape[1::-1], laid.template), Limits())


PARTS: dict[str, Callable[[Restorer, argparse.Namespace], str]] = {
    "statuses": statuses,
    "small": small,
    "sharp": sharp,
    "looks": looks,
    "fidelity": fidelity,
    "identity": guard,
    "cover": cover,
    "cost": cost,
}


def _signed(crop: np.ndarray) -> Tensor:
    return planes(crop[None]).float() / 127.5 - 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks trust",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--faces", type=Path)
    add("--weights", type=Path, help="folder of the networks that measure (small, sharp, fidelity)")
    add("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    add("--recipes", nargs="+", default=list(RECIPES))
    add("--count", type=int, default=64)
    add("--without", type=int, default=0, metavar="N", help="other faces than --count N chooses")
    add("--guard_fidelity", type=float, default=1.0, metavar="F", help="of the part identity")
    add("--size", type=int, default=256, choices=(256, 512))
    add("--model", default="default")
    add("--backend", default="auto")
    add("--identity", type=Path, help="identity network of the guard; default: the packaged one")
    add("--network", type=Path, help="of the part cover; default: the packaged one")
    add("--photos", type=Path, help="store of crops zoomed 1.2: a sheet of the most covered ones")
    add("--sheet", type=Path, default=Path("covered.jpg"), help="of --photos")
    add("--threads", type=int)
    return parser
