"""Broken, odd and unwritable photo files: refused in words, nothing lost, nothing half written."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from restore.errors import InputError
from restore.images.files import decode_photo, read_photo
from restore.images.formats import format_of
from restore.images.metadata import Metadata, set_exif_integers
from restore.images.write import encode_photo, write_atomically, write_photo
from tests.images.pictures import IPTC, metadata, picture


def _broken(kind: str) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if kind == "empty":
        return b""
    if kind == "text":
        return b"Dear grandma, this is only a letter.\n" * 4
    if kind == "bomb":  # a PNG header that declares 60000 x 60000
        from restore.images.write import _chunk

        header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"x\x9c")
    if kind == "float":
        Image.fromarray(np.zeros((4, 4), np.float32)).save(out, "TIFF")
        return out.getvalue()
    if kind.endswith("16"):
        data, _ = encode_photo(noise.astype(np.uint16) * 257, format_of(f".{kind[:3]}"))
        return data[: len(data) // 2]
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()[: len(out.getvalue()) // 2]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "0 bytes"), ("text", "holds text"), ("bomb", "pixels"), ("float", "32 bits"),
        ("JPEG", "truncated"), ("PNG", "truncated"), ("TIFF", "truncated"), ("WEBP", "truncated"),
        ("png16", "truncated"), ("tif16", "truncated"),
    ],
)  # fmt: skip
def test_broken_files_are_refused_in_words(tmp_path, kind, words):
    path = tmp_path / "grandma.jpg"
    path.write_bytes(_broken(kind))
    with pytest.raises(InputError, match=words) as caught:
        read_photo(path)
    assert "grandma.jpg" in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_photo(tmp_path / "no.png")
    with pytest.raises(InputError, match="is a folder"):
        read_photo(tmp_path)


def test_odd_sizes_are_photos(tmp_path):
    for size in ((1, 1), (50, 20000)):
        write_photo(tmp_path / "a.png", np.full((*size, 3), 7, np.uint8))
        assert read_photo(tmp_path / "a.png").pixels.shape == (*size, 3)
    with pytest.raises(InputError, match="at most 16383 px"):
        write_photo(tmp_path / "a.webp", np.zeros((50, 20000), np.uint8))
    assert not (tmp_path / "a.webp").exists()


def test_unknown_suffix(tmp_path):
    with pytest.raises(InputError, match=r"\.xyz.*expected one of"):
        write_photo(tmp_path / "a.xyz", picture(3))


def test_failed_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    import errno
    import os

    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(InputError, match="is a file, not a folder"):
        write_atomically(path / "b.png", b"new")


def test_file_size_limit_leaves_no_part(tmp_path):
    import subprocess
    import sys

    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "from pathlib import Path; from restore.images.write import write_atomically;"
        "write_atomically(Path(sys.argv[1]), bytes(5000))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")], capture_output=True, text=True
    )
    assert "InputError" in done.stderr
    assert "cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_set_exif_integers_leaves_malformed_blocks():
    for raw in (b"", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\0\xff", b"nonsense" * 4):
        assert set_exif_integers(raw, {0x0112: 1}) == raw


def test_damaged_exif_costs_no_photo(tmp_path):
    broken = Metadata(exif=b"Exif\0\0M~\0*\0\0\0\x08nonsense")
    assert write_photo(tmp_path / "a.jpg", picture(3), broken) == ()
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.metadata.exif == broken.exif
    notes = write_photo(tmp_path / "a.tif", photo.pixels, photo.metadata)
    assert notes == ("the EXIF block is damaged: not kept in TIFF",)
    assert np.array_equal(read_photo(tmp_path / "a.tif").pixels, photo.pixels)


SEEDS = [(".jpg", np.uint8), (".png", np.uint8), (".png", np.uint16), (".tif", np.uint8),
         (".tif", np.uint16), (".webp", np.uint8), (".bmp", np.uint8)]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("suffix", "dtype"), SEEDS)
def test_spoilt_files_are_read_or_refused_but_never_crash(suffix, dtype):
    rng = np.random.default_rng(0)
    data, _ = encode_photo(picture(3, dtype), format_of(suffix), metadata(iptc=IPTC))
    refused = 0
    for trial in range(60):
        spoilt = bytearray(data)
        reach = len(spoilt) if trial % 2 else 400
        for at in rng.integers(0, min(reach, len(spoilt)), rng.integers(1, 9)):
            spoilt[at] = rng.integers(256)
        try:
            photo = decode_photo(bytes(spoilt[: len(spoilt) - trial % 3]))
            encode_photo(photo.joined(photo.pixels, photo.alpha), format_of(".tif"), photo.metadata)
        except InputError:
            refused += 1
    assert refused  # PNG with its check sums refuses all of them
