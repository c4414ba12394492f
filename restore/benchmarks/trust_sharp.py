"""Sharp faces of few pixels: is the photo's own face nearer to the truth than a restored one?"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from restore.benchmarks.trust_faces import JudgedFaces, resized_faces
from restore.benchmarks.trust_measures import Measures
from restore.pipeline.examine import evidence
from restore.pipeline.restorer import Restorer
from restore.pipeline.trust_options import TrustOptions
from restore.trust.verdict import judge

EYES = (10, 14, 20, 28, 40)
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
            truth = [_seen(_sized(gt, shown)) for gt in judged.gt]
            ways = {
                "kept": [_seen(_sized(lq, shown)) for lq in judged.lq],
                "restored": [
                    _seen(_sized(face.restored, shown))
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


def _sized(crop: np.ndarray, side: int) -> np.ndarray:
    how = cv2.INTER_AREA if len(crop) > side else cv2.INTER_LANCZOS4
    if len(crop) == side:
        return crop
    return np.asarray(cv2.resize(crop, (side, side), interpolation=how))


def _seen(crop: np.ndarray) -> np.ndarray:
    if len(crop) == SEEN:
        return crop
    how = cv2.INTER_AREA if len(crop) > SEEN else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (SEEN, SEEN), interpolation=how))
