from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from restore.data.batches import SampleOrder, open_dataset, source_balance
from restore.errors import InputError
from restore.options.data import FaceDatasetOptions, PairedDatasetOptions
from restore.training.crop_source import open_crops
from tests.data.crops import NAMES, write_store


def test_equal_weights_draw_each_crop_once_an_epoch():
    order = SampleOrder(np.ones(50), seed=3)
    first, second = order.epoch(0)[0], order.epoch(1)[0]
    assert sorted(first) == sorted(second) == list(range(50))
    assert first.tolist() != second.tolist() != list(range(50))
    assert SampleOrder(np.ones(5), shuffle=False).epoch(0)[0].tolist() == [0, 1, 2, 3, 4]


def test_sources_get_their_share():
    sources = ["aaf"] * 80 + ["congress"] * 10 + ["u1i"] * 10
    weights = source_balance(sources, {"congress": 3, "u1i": 0})
    drawn = Counter()
    order = SampleOrder(weights, seed=0)
    assert order.num_draws == 90
    for number in range(20):
        counts = Counter(sources[i] for i in order.epoch(number)[0])
        assert abs(counts["congress"] - 90 * 30 / 110) < 5
        drawn += counts
    assert drawn["u1i"] == 0
    assert drawn["congress"] / drawn["aaf"] == pytest.approx(30 / 80, rel=0.03)
    per_crop = Counter(int(i) for n in range(20) for i in order.epoch(n)[0])
    assert max(per_crop[i] for i in range(80)) <= 20 and min(per_crop[i] for i in range(80)) >= 8


def test_a_source_that_no_crop_has_is_refused():
    with pytest.raises(InputError, match=r"names 'congres', which no crop has; expected .*aaf"):
        source_balance(["aaf", "congress"], {"congres": 3})
    with pytest.raises(InputError, match="not all 0"):
        SampleOrder([0, 0])


def test_order_depends_on_seed_and_place_alone():
    order = SampleOrder(np.ones(7), seed=5, flip=True)
    all_draws = list(islice(order.draws(0), 40))
    assert list(islice(order.draws(17), 23)) == all_draws[17:]
    assert list(islice(SampleOrder(np.ones(7), 5, flip=True).draws(0), 40)) == all_draws
    assert list(islice(SampleOrder(np.ones(7), 6, flip=True).draws(0), 40)) != all_draws
    assert {d.flip for d in all_draws} == {True, False}


def test_two_ranks_draw_what_one_draws_at_twice_the_batch():
    order = SampleOrder(np.ones(11), seed=2, flip=True)
    one = order.batches(0, 6)
    two = [order.batches(0, 3, rank, 2) for rank in (0, 1)]
    for _ in range(9):
        assert next(one) == next(two[0]) + next(two[1])


def test_options_reach_the_dataset(tmp_path):
    (tmp_path / "a.csv").write_text(
        "name,set\n" + "".join(f"{n}.png,{'x' if i < 2 else 'y'}\n" for i, n in enumerate(NAMES))
    )
    write_store("npy", tmp_path)
    balanced = FaceDatasetOptions(
        type="FaceDataset",
        dataroot_gt=str(tmp_path / "crops.npy"),
        device_crops="off",
        num_worker_per_gpu=0,
        source_csv=str(tmp_path / "a.csv"),
        source_column="set",
        source_weights={"y": 0.0},
        dataset_enlarge_ratio=3,
        use_hflip=False,
    )
    crops = open_crops(balanced, 16, torch.device("cpu"), 1)
    assert crops.order.num_draws == 6
    draws = [crops.draw_of(place) for place in range(12)]
    assert {crops.dataset.keys[draw.index] for draw in draws} == {"aaf_1", "aaf_2"}
    assert {crops.dataset.sources[draw.index] for draw in draws} == {"x"}
    assert not any(draw.flip for draw in draws)
    (tmp_path / "names.txt").write_text("tpdne_1.png\naaf_3.png\n")
    block = FaceDatasetOptions(
        type="FaceDataset",
        dataroot_gt=str(tmp_path / "crops.npy"),
        meta_info_file=str(tmp_path / "names.txt"),
        out_size=8,
    )
    dataset = open_dataset(block, 16)
    assert dataset.keys == ("tpdne_1", "aaf_3") and dataset[0].gt.shape == (3, 8, 8)


def test_pairs_cannot_be_trained_on(tmp_path):
    root = str(write_store("npy", tmp_path))
    block = PairedDatasetOptions(type="PairedDataset", dataroot_lq=root, dataroot_gt=root)
    assert len(open_dataset(block)) == 6
    with pytest.raises(InputError, match="expected a FaceDataset"):
        open_crops(block, 16, torch.device("cpu"), 1)


def test_crops_do_not_depend_on_threads_or_the_device(tmp_path):
    root = str(write_store("npy", tmp_path))
    drawn = []
    for options in (
        {"device_crops": "off", "num_worker_per_gpu": 0},
        {"device_crops": "off", "num_worker_per_gpu": 2},
        {"device_crops": "on", "num_worker_per_gpu": 0},
    ):
        block = FaceDatasetOptions(type="FaceDataset", dataroot_gt=root, **options)
        crops = open_crops(block, 16, torch.device("cpu"), 1)
        drawn.append([crops.draw(range(start, start + 2)) for start in range(0, 16, 2)])
    for others in drawn[1:]:
        for one, other in zip(drawn[0], others, strict=True):
            assert torch.equal(one.images, other.images) and torch.equal(one.mask, other.mask)
            torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=0, equal_nan=True)
    assert any(not torch.equal(drawn[0][0].images, crops.images) for crops in drawn[0][1:])
