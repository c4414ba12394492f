"""Small sets of crops for the tests of the restorer's protocol."""

import tarfile
from io import BytesIO

import cv2
import numpy as np

from restore.benchmarks.protocol import ProtocolFaces
from restore.data.stores import TarStore, encode_image

NAMES = ("aaf_1", "aaf_2", "congress_1", "tpdne_1")


def smooth_crop(seed, size):
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)


def write_tar(path, size, names=NAMES):
    with tarfile.open(path, "w") as tar:
        for index, name in enumerate(names):
            data = encode_image(smooth_crop(index, size))
            info = tarfile.TarInfo(f"{name}.png")
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return path


def small_faces(folder):
    """Four crops of 64 px as a set of the protocol."""
    store = TarStore(write_tar(folder / "faces.tar", 64))
    return ProtocolFaces(store, NAMES, 64, "faces")
