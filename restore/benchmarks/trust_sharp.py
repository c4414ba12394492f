"""Sharp faces of few pixels: is the photo's own face nearer to the truth than a restored one?"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from restore.benchmarks.trust_faces import JudgedFaces, resized_faces
from restore.benchmarks.trust_measures import Measures, sized
from restore.pipeline.options import TrustOptions
from restore.pipeline.policies import evidence
from restore.pipeline.restorer import Restorer
from restore.trust.verdict import judge

EYES = (10, 14, 20, 28, 40)
EVIDENCE_EYES = (12, 16, 24, 40, 57)
FACTORS = (1, 2, 4)
SEEN = 256
"""px of the frame that both are looked at in; smaller ones are enlarged alike, by cubics."""


def _blurred(small: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 1.0))


def _jpeg(small: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def _noisy(small: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 8, small.shape)
    return np.clip(small + noise, 0, 255).astype(np.uint8)


SPOILS = {"blur 1 px": _blurred, "JPEG 40": _jpeg, "noise 8": _noisy}
"""What must not count as sharp, done to the small photo."""


def sharp_rows(
    restorer: Restorer,
    folder: Path,
    size: int,
    count: int,
    measures: Measures,
    trust: TrustOptions,
) -> list[tuple[float, int, dict[str, float]]]:
    """(px between the eyes, factor, means) for each of EYES and FACTORS.

    A good photo is averaged down until its face has so many px, and shown enlarged by the factor:
    its own pixels by Lanczos ("kept") or the restored face ("restored"), against the good photo at
    that size. PSNR in dB (at most 60), LPIPS and identity cosine; "good": share of the faces
    that are left as they are, and of the same ones spoilt (SPOILS).
    """
    rows: list[tuple[float, int, dict[str, float]]] = []
    for eyes in EYES:
        judged = resized_faces(restorer, folder, size, count, eyes, trust)
        spoilt = {
            name: resized_faces(restorer, folder, size, count, eyes, trust, spoil)
            for name, spoil in SPOILS.items()
        }
        side = judged.lq.shape[1]
        for factor in FACTORS:
            shown = side * factor
            if shown > size:
                continue
            truth = [_shown(gt, shown) for gt in judged.gt]
            ways = {
                "kept": [_shown(lq, shown) for lq in judged.lq],
                "restored": [
                    _shown(face.restored, shown)
                    for face in judged.faces
                    if face.restored is not None
                ],
            }
            mask = torch.nn.functional.interpolate(judged.mask, (SEEN, SEEN), mode="nearest")
            found = {}
            for way, pictures in ways.items():
                pair = (np.stack(pictures), np.stack(truth))
                found[f"psnr {way}"] = float(np.minimum(measures.psnr(*pair, mask), 60).mean())
                found[f"lpips {way}"] = float(measures.lpips(*pair, mask).mean())
                found[f"identity {way}"] = float(measures.cosine(*pair).mean())
            found["good"] = _good(judged, restorer, factor)
            for name, others in spoilt.items():
                found[name] = _good(others, restorer, factor)
            rows.append((eyes, factor, found))
    return rows


def _good(judged: JudgedFaces, restorer: Restorer, factor: float) -> float:
    """Share of the faces that would be left as they are, were they shown so much larger."""
    found = []
    for face, small in zip(judged.faces, judged.lq, strict=True):
        size = (small.shape[1], small.shape[0])
        seen = evidence(face, size, restorer.template, factor)
        found.append(judge(seen).status == "already_good")
    return float(np.mean(found))


def _shown(crop: np.ndarray, side: int) -> np.ndarray:
    """The crop at the size of the shown photo, then as it is looked at."""
    return sized(sized(crop, side, cv2.INTER_LANCZOS4), SEEN)


def evidence_rows(
    restorer: Restorer, folder: Path, size: int, count: int, trust: TrustOptions
) -> list[tuple[float, str, dict[str, np.ndarray]]]:
    """(px between the eyes, what was done, quantiles) of sharp faces and of the same ones spoilt.

    What the verdict looks at on each, in the units of `Evidence` and of the option files; "scale of
    magnification": the estimated down-scaling by how much the network's crop enlarges the face.
    Quantiles: 5, 50 and 95 %.
    """
    rows: list[tuple[float, str, dict[str, np.ndarray]]] = []
    for eyes in EVIDENCE_EYES:
        for name, spoil in {"sharp": None, **SPOILS}.items():
            judged = resized_faces(restorer, folder, size, count, eyes, trust, spoil)
            found: dict[str, list[float]] = {}
            for face, small in zip(judged.faces, judged.lq, strict=True):
                seen = evidence(face, (small.shape[1], small.shape[0]), restorer.template)
                estimate = seen.degradation or {}
                for what, value in (
                    ("blur", seen.blur),
                    ("noise", seen.noise),
                    ("blocks", seen.blocks),
                    ("scale", estimate.get("scale", np.nan)),
                    ("scale of magnification", estimate.get("scale", np.nan) / seen.magnified),
                    ("JPEG quality", estimate.get("jpeg_quality", np.nan)),
                    ("damage", estimate.get("damage", np.nan)),
                ):
                    found.setdefault(what, []).append(float(value))
            quantiles = {k: np.quantile(v, (0.05, 0.5, 0.95)) for k, v in found.items()}
            rows.append((eyes, name, quantiles))
    return rows
