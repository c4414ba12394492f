"""GFPGAN's recipe for one picture with cv2 and numpy: what the batched one is measured against."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np


def classical_gfpgan(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """GFPGAN's recipe for one picture, as its dataset class does it with cv2 and numpy.

    uint8 `[h,w,3]` in, float32 in [-1,1] out; the numbers are those of the recipe `gfpgan`.
    """
    h, w = image.shape[:2]
    x: Any = image.astype(np.float32) / 255
    x = cv2.filter2D(x, -1, _classical_kernel(rng))
    scale = rng.uniform(0.8, 8)
    x = cv2.resize(x, (int(w // scale), int(h // scale)), interpolation=cv2.INTER_LINEAR)
    noise = rng.standard_normal(x.shape, dtype=np.float32) * (rng.uniform(0, 20) / 255)
    x = np.clip(x + noise, 0, 1)
    coding = [int(cv2.IMWRITE_JPEG_QUALITY), int(rng.uniform(60, 100))]
    _, file = cv2.imencode(".jpg", (x * 255).round().astype(np.uint8), coding)
    decoded: Any = cv2.imdecode(file, cv2.IMREAD_COLOR)
    x = decoded.astype(np.float32) / 255
    x = cv2.resize(x, (w, h), interpolation=cv2.INTER_LINEAR)
    if rng.uniform() < 0.3:
        x = np.clip(x + rng.uniform(-20 / 255, 20 / 255, 3).astype(np.float32), 0, 1)
    if rng.uniform() < 0.01:
        x = np.tile(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY)[..., None], 3)
    if rng.uniform() < 0.3:
        x = _classical_jitter(x, rng)
    return np.clip((x * 255).round(), 0, 255) / np.float32(127.5) - 1


def _classical_kernel(rng: np.random.Generator) -> np.ndarray:
    # basicsr's random_mixed_kernels for iso and aniso at 41 px: a mesh, a quadratic form, an exp
    isotropic = rng.uniform() < 0.5
    sx = rng.uniform(0.1, 10)
    sy, theta = (sx, 0.0) if isotropic else (rng.uniform(0.1, 10), rng.uniform(-math.pi, math.pi))
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    inverse = np.linalg.inv(turn @ np.diag([sx**2, sy**2]) @ turn.T)
    line = np.arange(-20.0, 21.0)
    grid = np.stack(np.meshgrid(line, line), -1)
    kernel = np.exp(-0.5 * np.sum(grid @ inverse * grid, 2))
    return kernel / kernel.sum()


def _classical_jitter(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    for which in rng.permutation(4):
        if which == 0:
            x = np.clip(x * rng.uniform(0.5, 1.5), 0, 1)
        elif which == 1:
            mean = cv2.cvtColor(x, cv2.COLOR_BGR2GRAY).mean()
            x = np.clip((x - mean) * np.float32(rng.uniform(0.5, 1.5)) + mean, 0, 1)
        elif which == 2:
            gray = cv2.cvtColor(x, cv2.COLOR_BGR2GRAY)[..., None]
            x = np.clip((x - gray) * np.float32(rng.uniform(0, 1.5)) + gray, 0, 1)
        else:
            hsv = cv2.cvtColor(x, cv2.COLOR_BGR2HSV)
            hsv[..., 0] = (hsv[..., 0] + 360 * rng.uniform(-0.1, 0.1)) % 360
            x = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        x = x.astype(np.float32)
    return x
