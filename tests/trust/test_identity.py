"""The packaged identity network: one person, two persons, bad input, bad files."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from restore.errors import CheckpointError, InputError
from restore.faces.detect import load_detector
from restore.images.files import read_photo
from restore.pipeline.guard import cut_faces
from restore.trust.identity import (
    PACKAGED,
    PACKAGED_THRESHOLDS,
    IdentityNetwork,
    cosine,
    identity_view,
    to_planes,
    unit_length,
)
from tests.conftest import ROOT
from tests.faces.nobody import nobody, spoilt


@pytest.fixture(scope="module")
def network():
    return IdentityNetwork.load()


@pytest.fixture(scope="module")
def group():
    """Faces of different people, none of whom exists, cut from a sample photo."""
    photo = read_photo(ROOT / "samples" / "group.jpg").pixels
    faces = cut_faces(photo, load_detector(threads=1))
    assert len(faces) >= 3
    return faces


def test_a_worn_face_is_nearer_to_itself_than_to_anybody_else(network, group):
    worn = np.stack([spoilt(face, blur=2.0, noise=8, jpeg=60) for face in group])
    table = network.embed(worn) @ network.embed(group).T
    own, others = np.diag(table), table[~np.eye(len(table), dtype=bool)]
    assert own.min() > max(others.max(), PACKAGED_THRESHOLDS.same_person)
    assert others.mean() < PACKAGED_THRESHOLDS.likely_same
    assert (table.argmax(1) == np.arange(len(table))).all()


def test_vectors_do_not_depend_on_size_side_batch_or_thread(network):
    crop = nobody(512)
    vector = network.embed(crop[None])
    assert vector.shape == (1, network.dimensions) and vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    for other in (nobody(256), nobody(128), np.ascontiguousarray(crop[:, ::-1])):
        assert float(cosine(vector, network.embed(other[None]))[0]) > 0.95
    many = np.stack([crop] * 17 + [nobody(512)[::-1]])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(network.embed, [many] * 4))
    for vectors in found:
        np.testing.assert_allclose(vectors[:17], vector.repeat(17, 0), atol=1e-4)
    assert network.embed(many[:0]).shape == (0, network.dimensions)


def test_the_graph_says_what_torch_says(network):
    torch = pytest.importorskip("torch")
    from restore.checkpoints.model_file import load_model_file

    crops = np.stack([nobody(256), np.ascontiguousarray(nobody(256)[::-1])])
    planes = torch.from_numpy(to_planes(identity_view(crops)))
    student = load_model_file(PACKAGED)
    with torch.inference_mode():
        plain = (student(planes) + student(planes.flip(3))).numpy()
    np.testing.assert_allclose(network.embed(crops), unit_length(plain), atol=1e-5)
    assert PACKAGED.stat().st_size < 4e6


@pytest.mark.parametrize(
    ("crops", "said"),
    [
        (np.zeros((64, 64, 3), np.uint8), "shape"),
        (np.zeros((1, 64, 48, 3), np.uint8), "shape"),
        (np.zeros((1, 64, 64, 3), np.float32), "float32"),
    ],
)
def test_what_is_no_crop_is_refused(network, crops, said):
    with pytest.raises(InputError, match=said):
        network.embed(crops)


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(CheckpointError, match="no identity network"):
        IdentityNetwork.load(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="mobile_restorer"):
        IdentityNetwork.load(PACKAGED.with_name("default.safetensors"))
    alone = tmp_path / "identity.safetensors"
    shutil.copy(PACKAGED, alone)
    with pytest.raises(CheckpointError, match="no graph"):
        IdentityNetwork.load(alone).embed(nobody(64)[None])
    content = PACKAGED.with_suffix(".onnx").read_bytes()
    alone.with_suffix(".onnx").write_bytes(content.replace(b"restore.layout", b"restore.lay0ut"))
    with pytest.raises(CheckpointError, match="no graph of ours"):
        IdentityNetwork.load(alone).embed(nobody(64)[None])
    with pytest.raises(CheckpointError, match="finite"):
        unit_length(np.full((1, 4), np.nan, np.float32))


@pytest.mark.shared
def test_another_network_by_its_file(shared):
    pytest.importorskip("torch")
    from restore.runtime.identity import load_identity

    teacher = load_identity(shared / "weights" / "mobilefacenet_casia_112x96.safetensors")
    crops = np.stack([nobody(256), spoilt(nobody(256), blur=2)])
    vectors = teacher.embed(crops)
    assert vectors.shape == (2, 128) and teacher.embed(crops[:0]).shape == (0, 128)
    assert float(vectors[0] @ vectors[1]) > 0.6
    own = load_identity().embed(crops)
    assert float(own[0] @ own[1]) > PACKAGED_THRESHOLDS.same_person
