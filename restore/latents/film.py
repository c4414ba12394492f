"""Ways from face to face, great circles in Z or lines in W; films of them, as PNGs or an MP4."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restore.errors import InputError, MissingExtraError
from restore.images.write import write_photo
from restore.latents.codes import Codes
from restore.latents.spaces import Generator, z_of_seeds, z_to_w_plus


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Between z [...,d] along the great circle of their directions (Shoemake 1985), t in 0..1.

    Lengths go in a straight line, so that t 0 and 1 are the ends themselves.
    """
    a, b = first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True)
    u, v = first / a.clamp_min(1e-12), second / b.clamp_min(1e-12)
    angle = (u * v).sum(-1, keepdim=True).clamp(-1, 1).arccos()
    sine = angle.sin()
    # where the two point the same way every way between them is the straight one
    straight = sine.abs() < 1e-4
    safe = torch.where(straight, torch.ones_like(sine), sine)
    left = torch.where(straight, torch.full_like(sine, 1 - t), ((1 - t) * angle).sin() / safe)
    right = torch.where(straight, torch.full_like(sine, t), (t * angle).sin() / safe)
    found: Tensor = (left * u + right * v) * ((1 - t) * a + t * b)
    return found


def lerp(first: Codes, second: Codes, t: float) -> Codes:
    """Between two codes in a straight line, t in 0..1: in S where both have it, else in W+.

    Noise maps of either fade in and out; without them the generator's own stand.
    """
    w_plus = torch.lerp(first.w_plus, second.w_plus, t)
    styles = None
    if first.styles is not None and second.styles is not None:
        pairs = zip(first.styles, second.styles, strict=True)
        styles = tuple(torch.lerp(a, b, t) for a, b in pairs)
    shared = set(first.noise) & set(second.noise)
    noise = {k: torch.lerp(first.noise[k], second.noise[k], t) for k in shared}
    return Codes(w_plus, styles, noise)


def walk_z(
    generator: Generator, seeds: Sequence[int], frames: int, truncation: float, loop: bool = False
) -> Iterator[Codes]:
    """Codes along great circles through the z of seeds, `frames` from each to the next.

    The last seed ends the walk, or with `loop` the walk goes on to the first and stops before it.
    """
    ends = z_of_seeds(generator, seeds)
    for i, t in steps(len(seeds), frames, loop):
        z = slerp(ends[i][None], ends[(i + 1) % len(seeds)][None], t)
        yield Codes(z_to_w_plus(generator, z, truncation))


def walk_codes(ends: Sequence[Codes], frames: int, loop: bool = False) -> Iterator[Codes]:
    """Codes along straight lines through given ones."""
    for i, t in steps(len(ends), frames, loop):
        yield lerp(ends[i], ends[(i + 1) % len(ends)], t)


def steps(count: int, frames: int, loop: bool) -> Iterator[tuple[int, float]]:
    """(leg, t) of each frame through `count` stations; each leg is eased in and out."""
    if count < 2 or frames < 1:
        raise InputError(f"{count} stations, {frames} frames a leg: expected 2 or more, 1 or more")
    legs = count if loop else count - 1
    for leg in range(legs):
        for k in range(frames):
            yield leg, eased(k / frames)
    if not loop:
        yield count - 2, 1.0


def eased(t: float) -> float:
    """A half cosine: no jerk at the stations."""
    return 0.5 - 0.5 * math.cos(math.pi * t)


def write_frames(frames: Iterable[np.ndarray], folder: Path) -> int:
    """Frames RGB uint8 [h,w,3] as frame00000.png ... in a folder; returns how many."""
    count = 0
    for frame in frames:
        write_photo(folder / f"frame{count:05d}.png", frame)
        count += 1
    return count


def write_film(frames: Iterable[np.ndarray], path: Path, rate: int = 25) -> int:
    """Frames RGB uint8 [h,w,3], all of one even size, as H.264 in an MP4; returns how many.

    The film appears when it is whole. Raises MissingExtraError without imageio-ffmpeg, InputError
    where ffmpeg fails or there is no frame.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as error:
        raise MissingExtraError("imageio-ffmpeg", "film", "A film") from error
    if rate < 1:
        raise InputError(f"{rate} frames a second; expected 1 or more")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise InputError("a film needs one frame or more, got none")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise InputError(f"frames of {width} x {height} px; H.264 wants even sides")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}-{os.getpid()}.part.mp4")
    command = [
        get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{width}x{height}", "-r", str(rate), "-i", "-", "-an", "-c:v", "libx264",
        "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart",
        "-metadata", "comment=Generated faces of nobody", str(part),
    ]  # fmt: skip
    try:
        with tempfile.TemporaryFile() as said:
            count = _feed(command, first, iterator, said)
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip()
        if count < 0:
            raise InputError(f"{path}: ffmpeg could not write it: {words or 'no reason given'}")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _feed(command: list[str], first: np.ndarray, rest: Iterable[np.ndarray], said: object) -> int:
    """Give frames to ffmpeg; how many, or -1 where it failed."""
    count = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said) as process:  # type: ignore[call-overload]
        assert process.stdin is not None
        try:
            for frame in chain([first], rest):
                if frame.shape != first.shape:
                    raise InputError(f"frame {count} is {frame.shape}, the first {first.shape}")
                process.stdin.write(np.ascontiguousarray(frame).tobytes())
                count += 1
        except BrokenPipeError:
            count = -1  # what ffmpeg says on stderr tells why
        except BaseException:
            process.kill()
            raise
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
        return count if process.wait() == 0 else -1
