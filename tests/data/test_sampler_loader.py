from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from restore.config.data_options import FaceDatasetOptions, PairedDatasetOptions
from restore.data.loader import (
    BatchStream,
    fetch_by_workers,
    open_dataset,
    open_training_stream,
    validation_batches,
)
from restore.data.sampler import SampleOrder, source_balance
from restore.errors import InputError
from tests.data.crops import NAMES, write_store


def stream(tmp_path, seed=1, rank=0, world_size=1, batch=2, **options) -> BatchStream:
    root = tmp_path / "crops.npy"
    if not root.exists():
        write_store("npy", tmp_path)
    block = FaceDatasetOptions(
        type="FaceDataset",
        dataroot_gt=str(root),
        batch_size_per_gpu=batch,
        **{"device_crops": "off", "num_worker_per_gpu": 0, **options},
    )
    return open_training_stream(block, 16, "cpu", seed, rank, world_size)


def shown(batches) -> list[tuple]:
    return [(b.position, b.keys, b.gt.tolist(), b.parts.tolist()) for b in batches]


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


def test_resume_is_the_same_with_any_workers_and_on_the_device(tmp_path):
    whole = stream(tmp_path)
    wanted = shown(islice(whole, 8))
    for options in (
        {},
        {"num_worker_per_gpu": 2},
        {"device_crops": "on"},
    ):
        first = stream(tmp_path, **options)
        start = shown(islice(first, 3))
        state = first.state_dict()
        first.close()
        second = stream(tmp_path, **options)
        second.load_state_dict(state)
        assert start + shown(islice(second, 5)) == wanted
        second.close()
    assert whole.position == 16


def test_a_state_of_other_data_is_refused(tmp_path):
    state = stream(tmp_path).state_dict()
    with pytest.raises(InputError, match="seed = 1, this one has 2"):
        stream(tmp_path, seed=2).load_state_dict(state)
    with pytest.raises(InputError, match="crops = 6, this one has 5"):
        stream(tmp_path, num_images=5).load_state_dict(state)


def test_ranks_resume_in_another_number_of_processes(tmp_path):
    two = [stream(tmp_path, rank=r, world_size=2, batch=1) for r in (0, 1)]
    for one in two:
        next(one)
    assert two[0].state_dict() == two[1].state_dict()
    alone = stream(tmp_path, batch=2)
    wanted = [next(alone), next(alone)][1].keys
    resumed = stream(tmp_path, batch=2)
    resumed.load_state_dict(two[0].state_dict())
    assert next(resumed).keys == wanted


def test_options_reach_the_dataset(tmp_path):
    (tmp_path / "a.csv").write_text(
        "name,set\n" + "".join(f"{n}.png,{'x' if i < 2 else 'y'}\n" for i, n in enumerate(NAMES))
    )
    balanced = stream(
        tmp_path,
        source_csv=str(tmp_path / "a.csv"),
        source_column="set",
        source_weights={"y": 0.0},
        dataset_enlarge_ratio=3,
        use_hflip=False,
    )
    assert balanced.order.num_draws == 6
    batches = list(islice(balanced, 6))
    assert {key for b in batches for key in b.keys} == {"aaf_1", "aaf_2"}
    assert {s for b in batches for s in b.sources} == {"x"}
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
        open_training_stream(block, 16)


def test_validation_shows_every_crop_once(tmp_path):
    dataset = stream(tmp_path) and open_dataset(
        FaceDatasetOptions(type="FaceDataset", dataroot_gt=str(tmp_path / "crops.npy"))
    )
    alone = [k for b in validation_batches(dataset, 4) for k in b.keys]
    assert alone == sorted(NAMES)
    ranks = [[k for b in validation_batches(dataset, 2, r, 2) for k in b.keys] for r in (0, 1)]
    assert ranks[0] == alone[0::2] and ranks[1] == alone[1::2]


def test_workers_do_not_depend_on_the_start_method(tmp_path):
    write_store("lmdb", tmp_path)
    block = FaceDatasetOptions(type="FaceDataset", dataroot_gt=str(tmp_path / "crops.lmdb"))
    dataset = open_dataset(block)
    dataset[0]  # the environment is open in this process when the workers start
    order = SampleOrder(np.ones(6), 0)
    batches = fetch_by_workers(dataset, 2)(islice(order.batches(0, 2), 3))
    assert {k for b in batches for k in b.keys} == set(NAMES)
    assert dataset[1].gt.any()  # the parent's handle outlives those of its workers


def test_batches_move_between_devices(tmp_path):
    batch = next(stream(tmp_path)).to(torch.device("cpu"))
    assert len(batch) == 2 and batch.gt.dtype == torch.uint8 and batch.lq is None
