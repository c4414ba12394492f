"""Packs of faces: what is in them, going on with one, OpenVINO."""

import sys

import numpy as np
import pytest
import torch

from restore.checkpoints.model_file import save_model_file
from restore.data.stores import open_store
from restore.latents.generate import (
    generate_faces,
    load_generator,
)
from tests.latents.tiny import MOBILE_ARGUMENTS, mobile
from tools.faces import main, write_face_pack


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tiny.safetensors"
    header = {"architecture": "mobile_stylegan", "arguments": MOBILE_ARGUMENTS}
    save_model_file(path, mobile(), header, torch.float32)
    return path


def test_a_pack_holds_the_faces_of_its_seeds_and_goes_on(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    path = tmp_path / "packs" / "faces.npy"
    command = ["--model", str(model), "--seed", "5", "--size", "32", "-o", str(path)]
    assert main([*command, "--count", "3", "--truncation", "0.7"]) == 0
    assert "3 faces of 32 px, painted by torch" in capsys.readouterr().out
    expected = np.stack(list(generate_faces(load_generator(model), [5, 6, 7], 0.7, 32)))
    store = open_store(path)
    assert store.keys == ("generated_5", "generated_6", "generated_7")
    np.testing.assert_array_equal(np.stack([store.image(key) for key in store.keys]), expected)
    unfinished = np.load(path, mmap_mode="r+")
    unfinished[1] = 0
    unfinished[2] = 9
    unfinished.flush()
    assert main([*command, "--count", "3", "--truncation", "0.7"]) == 0
    found = np.load(path)
    np.testing.assert_array_equal(found[:2], expected[:2])
    assert (found[2] == 9).all()  # what is there is not painted again
    assert main([*command, "--count", "4"]) == 2
    assert "expected uint8 [4, 32, 32, 3]" in capsys.readouterr().err


def test_openvino_paints_the_same_faces(tmp_path):
    pytest.importorskip("openvino")
    net = mobile()
    path = tmp_path / "faces.npy"
    assert write_face_pack(path, net, [1, 2], 1.0, net.out_size).startswith("openvino")
    expected = np.stack(list(generate_faces(net, [1, 2], 1.0)))
    assert np.abs(np.load(path).astype(float) - expected).mean() < 2  # of 255, in bfloat16
