"""Detectors by name, and the packaged one on real and on degenerate photos."""

import threading

import numpy as np
import pytest

from benchmarks.detection import FACES_IN, read_photo
from restore.errors import CheckpointError, InputError
from restore.faces.centerface import PACKAGED, CenterFace
from restore.faces.detect import DETECTORS, load_detector
from restore.faces.detectors import RetinaFace
from tests.faces.scene import smooth_photo


@pytest.fixture(scope="module")
def default():
    return load_detector(threads=1)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 300), (50, 20000), (20000, 50), (64, 64), (33, 31), (700, 700)]
)
def test_photos_without_faces_give_an_empty_list(default, shape):
    assert default.detect(np.full((*shape, 3), 127, np.uint8)) == []


def test_noise_holds_no_face(default):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert default.detect(noise) == []


@pytest.mark.shared
@pytest.mark.parametrize("name", ["group/Harry_Potter.jpg", "old_scratched/d.png", "old/d.png"])
def test_faces_of_real_photos_are_found(default, shared, name):
    photo = read_photo(shared / "photos" / name)
    faces = default.detect(photo)
    assert len(faces) == FACES_IN[name]
    for face in faces:
        left, right, nose, mouth_left, mouth_right = face.landmarks
        assert left[0] < nose[0] < right[0]
        assert max(left[1], right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])


@pytest.mark.shared
def test_threads_share_one_detector(shared):
    detector = load_detector(threads=1)
    photos = [
        read_photo(shared / "photos" / name)
        for name in ("group/Harry_Potter.jpg", "old_scratched/d.png", "old_scratched/c.png")
    ]
    alone = [load_detector(threads=1).detect(photo) for photo in photos]
    together: dict[int, list] = {}

    def work(index):
        together[index] = detector.detect(photos[index % 3])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(6):
        expected = alone[index % 3]
        assert len(together[index]) == len(expected) > 0
        for ours, theirs in zip(together[index], expected, strict=True):
            np.testing.assert_array_equal(ours.landmarks, theirs.landmarks)


@pytest.mark.shared
def test_yunet_by_path_and_by_name(shared):
    path = shared / "weights" / "yunet_n_640_640.onnx"
    photo = read_photo(shared / "photos" / "old_scratched" / "d.png")
    for name in (path, f"yunet:{path}"):
        assert len(load_detector(name).detect(photo)) == 2


@pytest.mark.shared
def test_mtcnn(shared):
    pytest.importorskip("facenet_pytorch")
    photo = read_photo(shared / "photos" / "old_scratched" / "d.png")
    assert len(load_detector("mtcnn").detect(photo)) == 2


@pytest.mark.shared
def test_retinaface_gives_what_facexlib_gives(shared):
    """facexlib itself is the oracle; on this file its own boxes are far too large."""
    network = pytest.importorskip("facexlib.detection.retinaface")
    import torch

    path = shared / "weights" / "retinaface_mobilenet0.25.pth"
    photo = read_photo(shared / "photos" / "old_scratched" / "d.png")
    reference = network.RetinaFace(network_name="mobile0.25", half=False, device="cpu").eval()
    reference.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    with torch.inference_mode():
        rows = reference.detect_faces(np.ascontiguousarray(photo[..., ::-1]), 0.9, 0.4)
    faces = RetinaFace(path).look(photo, 0.9)
    assert len(faces) == len(rows) > 0
    for face, row in zip(faces, sorted(rows, key=lambda row: -row[4]), strict=True):
        np.testing.assert_allclose(face.box, row[:4], atol=1e-3)
        np.testing.assert_allclose(face.landmarks.ravel(), row[5:], atol=1e-3)


def test_retinaface_needs_a_weights_file(tmp_path):
    pytest.importorskip("facexlib.detection.retinaface")
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"text")
    with pytest.raises(CheckpointError):
        load_detector(f"retinaface:{bad}").detect(smooth_photo(40, 40))


def test_a_batch_equals_single_looks():
    look = CenterFace(threads=1)
    images = np.stack([smooth_photo(70, 90, seed=seed) for seed in range(3)])
    for image, faces in zip(images, look.look_batch(images, 0.01), strict=True):
        single = look.look(image, 0.01)
        assert len(single) == len(faces)
        for one, other in zip(single, faces, strict=True):
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=1e-2)


@pytest.mark.parametrize("name", ["yunet", "retinaface", "yunet:none.onnx", "none.onnx", "dlib"])
def test_names_that_cannot_be_loaded(name):
    with pytest.raises(InputError):
        load_detector(name)


def test_the_message_for_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError) as caught:
        load_detector("dlib")
    for name in DETECTORS:
        assert name in str(caught.value)


def test_files_that_are_no_models(tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"this is text, not a network")
    with pytest.raises(CheckpointError):
        load_detector(f"centerface:{bad}").detect(smooth_photo(40, 40))
    with pytest.raises(CheckpointError):
        load_detector(f"yunet:{bad}").detect(smooth_photo(40, 40))
    with pytest.raises(CheckpointError):
        load_detector(f"centerface:{tmp_path / 'none.onnx'}").detect(smooth_photo(40, 40))
    (tmp_path / "cut.onnx").write_bytes(PACKAGED.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"cut\.onnx is no model"):
        CenterFace(tmp_path / "cut.onnx").look(smooth_photo(40, 40))


def test_a_file_of_one_size_says_how_to_convert_it(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(PACKAGED)
    for place, side in zip((2, 3), (64, 96), strict=True):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = side
    onnx.save(model, tmp_path / "fixed.onnx")
    with pytest.raises(CheckpointError, match="import-detector"):
        CenterFace(tmp_path / "fixed.onnx").look(smooth_photo(64, 96))


def test_the_packaged_detector_tells_its_licence():
    content = PACKAGED.read_bytes()
    assert b"Copyright (c) 2020 Martin Drawitsch" in content
    assert len(content) < 4e6
    notice = (PACKAGED.parents[2] / "NOTICE").read_text("utf-8")
    assert "Copyright (c) 2020 Martin Drawitsch" in notice
    assert "The above copyright notice and this permission notice shall be included" in notice
