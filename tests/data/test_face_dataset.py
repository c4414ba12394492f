import numpy as np
import pytest
import torch

from restore.data.batches import DeviceCrops, collate, device_crops_fit
from restore.data.face_dataset import (
    Draw,
    FaceDataset,
    FaceRecord,
    PairedDataset,
    part_boxes,
    read_component_file,
    read_keys,
    read_record,
    read_sources,
    template_landmarks,
    valid_mask,
)
from restore.data.stores import open_store
from restore.errors import InputError
from tests.data.crops import NAMES, crop, record, write_store


@pytest.fixture
def dataset(tmp_path) -> FaceDataset:
    return FaceDataset(open_store(write_store("disk", tmp_path)))


def test_a_sample(dataset):
    sample = dataset[1]
    assert sample.key == "aaf_2" and sample.source == "aaf"
    assert np.array_equal(sample.gt, crop("aaf_2").transpose(2, 0, 1))
    assert sample.mask.shape == (1, 16, 16) and sample.mask.all()
    assert np.allclose(sample.landmarks, record("aaf_2").landmarks, atol=0.006)
    assert np.allclose(sample.parts[2], record("aaf_2").parts[2], atol=0.006)
    # GFPGAN enlarges eyes by 1.4 and not the mouth
    side = sample.parts[0, 2] - sample.parts[0, 0]
    stored = record("aaf_2").parts[0]
    assert side == pytest.approx(1.4 * (stored[2] - stored[0]), abs=0.03)


def test_mirroring_moves_coordinates_with_the_pixels(dataset):
    plain, flipped = dataset[Draw(3)], dataset[Draw(3, True)]
    assert np.array_equal(flipped.gt, plain.gt[:, :, ::-1])
    assert np.allclose(flipped.landmarks[0, 0], 15 - plain.landmarks[1, 0])
    assert np.allclose(flipped.landmarks[4, 1], plain.landmarks[3, 1])
    assert np.allclose(flipped.parts[0, [0, 2]], 15 - plain.parts[1, [2, 0]])
    assert flipped.landmarks[0, 0] < flipped.landmarks[1, 0]
    assert (flipped.parts[:, 2] > flipped.parts[:, 0]).all()


def test_mirroring_leaves_no_trace(dataset):
    """GFPGAN's dataset mirrors boxes in its cache: later reads are wrong."""
    before = dataset[2]
    for _ in range(3):
        dataset[Draw(2, True)].parts[:] = -1
    after = dataset[2]
    assert np.array_equal(before.parts, after.parts)
    assert np.array_equal(before.landmarks, after.landmarks)
    assert np.array_equal(before.gt, after.gt)


def test_without_records_the_template_speaks(tmp_path):
    store = open_store(write_store("disk", tmp_path, records=False))
    sample = FaceDataset(store, zoom=1.2, centre=(256, 280))[0]
    assert np.allclose(sample.landmarks, template_landmarks(16, 1.2, (256, 280)))
    with pytest.raises(InputError, match="not in the store, such as 'gone_1'"):
        FaceDataset(store, ["gone_1"])


def test_template_is_that_of_faces():
    from restore.geometry import ffhq_template

    ours = template_landmarks(256, 1.2, (256.0, 280.0))
    assert np.allclose(ours, ffhq_template(256, 1.2, (256.0, 280.0)), atol=1e-3)


def test_boxes_are_about_gfpgans():
    boxes = part_boxes(template_landmarks(512, 1.0, (256, 256)))
    sides = boxes[:, 2] - boxes[:, 0]
    # GFPGAN crops 80 px for eyes enlarged by 1.4, and 120 px for the mouth
    assert 1.4 * sides[0] == pytest.approx(84, abs=4) and sides[2] == pytest.approx(112, abs=4)
    assert np.allclose(boxes[:, 3] - boxes[:, 1], sides)


def test_larger_crops_shrink_and_smaller_ones_are_refused(tmp_path):
    store = open_store(write_store("disk", tmp_path))
    sample = FaceDataset(store, crop_size=8)[0]
    assert sample.gt.shape == (3, 8, 8)
    wanted = crop("aaf_1").reshape(8, 2, 8, 2, 3).mean((1, 3))
    assert np.abs(sample.gt.transpose(1, 2, 0) - wanted).max() <= 1
    assert np.allclose(sample.landmarks, (record("aaf_1").landmarks + 0.5) / 2 - 0.5, atol=0.01)
    with pytest.raises(InputError, match="has 16 px, the set wants 32"):
        FaceDataset(store, crop_size=32)[0]


def test_invalid_border_is_masked(tmp_path):
    path = write_store("disk", tmp_path)
    corners = np.array([[-0.5, 3.5], [20, 3.5], [20, 20], [-0.5, 20]], np.float32)
    (path / "aaf_1.json").write_bytes(record("aaf_1", valid=corners).to_json())
    mask = FaceDataset(open_store(path))[0].mask[0]
    assert not mask[:3].any() and mask[5:].all()
    assert valid_mask(None, 4).all()


def test_records_survive_json_and_nonsense_is_refused():
    one = FaceRecord(8, np.zeros((5, 2)), np.ones((3, 4)), np.eye(4)[:, :2], "x", 1.2, (1.0, 2.0))
    again = read_record(one.to_json())
    assert (again.size, again.source, again.zoom, again.centre) == (8, "x", 1.2, (1.0, 2.0))
    assert np.array_equal(again.valid, one.valid)
    for bad in (b"", b"[]", b"{}", b'{"size": 8, "landmarks": [1], "parts": []}'):
        with pytest.raises(InputError, match="no face record"):
            read_record(bad)


def test_component_file_goes_by_name(tmp_path):
    entry = {"left_eye": [190.0, 240.0, 30.0], "right_eye": [320.0, 241.0, 31.0]}
    torch.save(
        {"00000012": {k: torch.tensor(v) for k, v in entry.items()} | {"mouth": [256.0, 370, 50]}},
        tmp_path / "parts.pth",
    )
    boxes = read_component_file(tmp_path / "parts.pth", ["00012"])
    assert np.allclose(boxes["00012"][0], [190 - 42, 240 - 42, 190 + 42, 240 + 42])
    assert np.allclose(boxes["00012"][2], [206, 320, 306, 420])
    for key in ("00013", "aaf_1"):
        with pytest.raises(InputError, match=f"no entry for the crop '{key}'"):
            read_component_file(tmp_path / "parts.pth", [key])


def test_lists_of_names_and_sources(tmp_path):
    (tmp_path / "names.txt").write_text("aaf_1.png (16,16,3) 1\n\nsub.dir/b.c.webp\n")
    assert read_keys(tmp_path / "names.txt") == ("aaf_1", "sub.dir/b.c")
    (tmp_path / "a.csv").write_text("name,source,age\naaf_1.webp,album,3\n")
    assert read_sources(tmp_path / "a.csv") == {"aaf_1": "album"}
    assert read_sources(tmp_path / "a.csv", "age") == {"aaf_1": "3"}
    with pytest.raises(InputError, match="name and shard"):
        read_sources(tmp_path / "a.csv", "shard")


def test_crops_on_the_device_are_the_same_batches(tmp_path):
    path = write_store("disk", tmp_path)
    corners = np.array([[3.5, -1], [20, -1], [20, 20], [3.5, 20]], np.float32)
    (path / "congress_1.json").write_bytes(record("congress_1", valid=corners).to_json())
    dataset = FaceDataset(open_store(path))
    draws = [Draw(3), Draw(0, True), Draw(3, True), Draw(5)]
    plain, fast = collate([dataset[d] for d in draws]), DeviceCrops(dataset).batch(draws)
    for name in ("gt", "mask", "landmarks", "parts", "indices"):
        assert torch.equal(getattr(plain, name), getattr(fast, name)), name
    assert plain.keys == fast.keys and plain.sources == fast.sources
    assert not plain.mask[0].all() and not torch.equal(plain.mask[0], plain.mask[2])
    assert device_crops_fit(dataset, "cpu", 1.0) and not device_crops_fit(dataset, "cpu", 1e-9)


def test_pairs(tmp_path):
    (tmp_path / "lq").mkdir()
    gt = open_store(write_store("disk", tmp_path))
    small = write_store("npy", tmp_path, size=8)
    pairs = PairedDataset(open_store(small), gt)
    sample = pairs[Draw(2, True)]
    assert sample.lq.shape == sample.gt.shape == (3, 16, 16)
    assert np.array_equal(sample.gt, crop("aaf_3").transpose(2, 0, 1)[:, :, ::-1])
    assert collate([pairs[0], pairs[1]]).lq.shape == (2, 3, 16, 16)
    with pytest.raises(InputError, match=r"6 of 6 good pictures have no bad one.*'aaf_1x2'"):
        PairedDataset(open_store(small), gt, filename_tmpl="{}x2")
    assert len(pairs.keys) == len(NAMES)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_list_that_cannot_be_read_is_said(tmp_path, content):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"meta_info_file .*names\.txt cannot be read"):
        read_keys(path)
    with pytest.raises(InputError, match=r"source_csv .*names\.txt cannot be read"):
        read_sources(path)
