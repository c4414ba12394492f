"""Stores of crops: every kind gives the same pixels; 16 bits; what is refused."""

import io
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from restore.data.face_dataset import read_record
from restore.data.stores import (
    LmdbStore,
    LmdbWriter,
    decode_rgb,
    encode_image,
    open_store,
    open_stores,
)
from restore.errors import InputError
from tests.data.crops import NAMES, crop, record, write_store

KINDS = ("disk", "tar", "lmdb", "npy", "safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_every_store_gives_the_same_crops(kind, tmp_path):
    store = open_store(write_store(kind, tmp_path))
    assert sorted(store.keys) == sorted(NAMES)
    again = pickle.loads(pickle.dumps(store))
    for name in NAMES:
        assert np.array_equal(store.image(name), crop(name))
        assert np.array_equal(again.image(name), crop(name))


@pytest.mark.parametrize("kind", ["disk", "tar", "lmdb"])
def test_records_are_found_by_key(kind, tmp_path):
    store = open_store(write_store(kind, tmp_path))
    for name in NAMES:
        found = read_record(store.record(name))
        assert np.allclose(found.landmarks, record(name).landmarks, atol=0.006)
        assert found.source == name.split("_")[0]
    assert open_store(write_store("npy", tmp_path)).record(NAMES[0]) is None


def test_array_with_planes_first(tmp_path):
    from tests.data.crops import write_array

    crops = np.stack([crop(n) for n in NAMES]).transpose(0, 3, 1, 2)
    write_array(tmp_path / "a.safetensors", crops, NAMES)
    assert np.array_equal(open_store(tmp_path / "a.safetensors").image("aaf_2"), crop("aaf_2"))
    np.save(tmp_path / "plain.npy", crops)
    assert open_store(tmp_path / "plain.npy").keys[1] == "00000001"


def test_lmdb_is_basicsrs_layout(tmp_path):
    path = write_store("lmdb", tmp_path)
    lines = (path / "meta_info.txt").read_text().splitlines()
    assert lines[0] == "aaf_1.png (16,16,3) 1" and len(lines) == len(NAMES)
    lmdb = pytest.importorskip("lmdb")
    # as BasicSR's FFHQDegradationDataset and LmdbBackend do it
    keys = [line.split(".")[0] for line in lines]
    with lmdb.open(str(path), readonly=True, lock=False, readahead=False) as env:
        with env.begin(write=False) as transaction:
            data = [transaction.get(key.encode("ascii")) for key in keys]
        assert env.stat()["entries"] == 2 * len(NAMES)
    for key, one in zip(keys, data, strict=True):
        assert np.array_equal(decode_rgb(one), crop(key))


def test_lmdb_resumes_and_grows(tmp_path):
    path = tmp_path / "a.lmdb"
    data = encode_image(crop("aaf_1"))
    with LmdbWriter(path) as writer:
        writer._env.set_mapsize(64 * 1024)
        writer._size = 64 * 1024
        writer.put("aaf_1.png", data, (16, 16, 3), 1, None)
    with LmdbWriter(path) as writer:
        assert writer.done == {"aaf_1"}
        writer._env.set_mapsize(64 * 1024)
        writer._size = 64 * 1024
        for i in range(100):
            writer.put(f"b_{i}.png", data, (16, 16, 3), 1, b"{}")
    assert len(LmdbStore(path).keys) == 101
    assert np.array_equal(LmdbStore(path).image("b_99"), crop("aaf_1"))


def test_lmdb_text_that_names_too_much_is_mended(tmp_path):
    path = write_store("lmdb", tmp_path)
    with (path / "meta_info.txt").open("a") as file:
        file.write("ghost_1.png (16,16,3) 1\n")
    with pytest.raises(InputError, match="no crop 'ghost_1'"):
        LmdbStore(path).image("ghost_1")
    with LmdbWriter(path) as writer:
        assert "ghost_1" not in writer.done and len(writer.done) == len(NAMES)
    assert len(LmdbStore(path).keys) == len(NAMES)


def test_lmdb_refuses_keys_that_basicsr_cannot_read(tmp_path):
    with LmdbWriter(tmp_path / "a.lmdb") as writer:
        with pytest.raises(InputError, match="white space"):
            writer.put("two words.png", b"x", (1, 1, 3), 1, None)
        with pytest.raises(InputError, match="500 bytes"):
            writer.put("k" * 600 + ".png", b"x", (1, 1, 3), 1, None)
    with pytest.raises(InputError, match=r"end in \.lmdb"):
        LmdbWriter(tmp_path / "a")


def test_several_stores_are_one(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "lfw_1.png").write_bytes(encode_image(crop("aaf_3")))
    store = open_stores([write_store("tar", tmp_path), tmp_path / "more"])
    assert len(store.keys) == 7 and np.array_equal(store.image("lfw_1"), crop("aaf_3"))
    with pytest.raises(InputError, match="keys must be unique"):
        open_stores([tmp_path / "crops.tar", write_store("npy", tmp_path)])


def test_places_that_are_no_store(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_store(tmp_path / "nothing")
    with pytest.raises(InputError, match="no image"):
        open_store(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(InputError, match="no store of crops"):
        open_store(tmp_path / "a.zip")
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4, 3), np.float32))
    with pytest.raises(InputError, match="float32"):
        open_store(tmp_path / "a.npy")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense" * 4)
    with pytest.raises(InputError, match="cannot be read"):
        open_store(tmp_path / "a.safetensors")
    with tarfile.open(tmp_path / "a.tar", "w:gz"):
        pass
    with pytest.raises(InputError, match="uncompressed tar"):
        open_store(tmp_path / "a.tar")
    (tmp_path / "b.lmdb").mkdir()
    with pytest.raises(InputError, match="meta_info"):
        open_store(tmp_path / "b.lmdb")


def test_names_that_differ_in_the_extension_alone(tmp_path):
    for name in ("a.png", "a.webp"):
        (tmp_path / name).write_bytes(encode_image(crop("aaf_1")))
    with pytest.raises(InputError, match="extension alone"):
        open_store(tmp_path)


def test_a_damaged_crop_is_named(tmp_path):
    path = write_store("disk", tmp_path)
    (path / "aaf_2.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match="aaf_2 cannot be decoded"):
        open_store(path).image("aaf_2")


def test_encodings():
    with pytest.raises(InputError, match="png, webp or jpg"):
        encode_image(crop("aaf_1"), "tga")
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    for kind in ("png", "webp", "jpg"):
        assert np.abs(decode_rgb(encode_image(flat, kind)).astype(int) - flat).max() <= 4


def test_16_bit_gray_crops_are_scaled_not_cut_off():
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    out = io.BytesIO()
    Image.fromarray(ramp).save(out, "PNG")
    found = decode_rgb(out.getvalue())
    np.testing.assert_array_equal(found, np.repeat(np.round(ramp / 257)[:, :, None], 3, axis=2))


def test_float_crops_are_refused_by_name():
    out = io.BytesIO()
    Image.fromarray(np.ones((8, 8), np.float32)).save(out, "TIFF")
    with pytest.raises(InputError, match="float pixels; expected 8 or 16 bits"):
        decode_rgb(out.getvalue())
