"""Films: frames as numbered PNGs, or an MP4 by the ffmpeg that imageio-ffmpeg carries."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from restore.errors import InputError, MissingExtraError
from restore.images.files_write import write_photo


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
            process.stdin.write(np.ascontiguousarray(first).tobytes())
            count = 1
            for frame in rest:
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
            try:
                process.stdin.close()
            except BrokenPipeError:
                count = -1
        return count if process.wait() == 0 else -1
