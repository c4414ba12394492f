"""The reference that speed is a ratio to, and the tables, on networks that take no time."""

import mmap
import time

import numpy as np
import pytest
import torch

from restore.benchmarks.photo_stages import PeakMemory, composed_photo
from restore.benchmarks.plain_gfpgan import PlainGFPGAN, random_gfpgan
from restore.benchmarks.speed import main
from restore.benchmarks.timing import time_in_turn
from restore.networks.gfpgan import build_gfpgan
from tests.runtime.models import stirred


@torch.no_grad()
@pytest.mark.parametrize(
    "arguments",
    [
        {"out_size": 64, "narrow": 0.0625, "w_dim": 16},
        {"out_size": 32, "narrow": 0.0625, "w_dim": 16, "sft_half": False, "different_w": False},
    ],
)
def test_the_plain_network_is_the_network(arguments):
    network = stirred(build_gfpgan(**arguments))
    lq = torch.rand(2, 3, arguments["out_size"], arguments["out_size"]) * 2 - 1
    expected = network(lq).image
    assert expected.std() > 0.05
    np.testing.assert_allclose(PlainGFPGAN(network)(lq), expected, atol=1e-4)
    channels_last = network.to(memory_format=torch.channels_last)(lq).image  # the fast path
    np.testing.assert_allclose(channels_last, expected, atol=1e-4)


@torch.no_grad()
def test_random_images_spread_as_photos_do():
    image = random_gfpgan(32)(torch.rand(1, 3, 32, 32) * 2 - 1).image
    assert 0.2 < image.std() < 0.9


def test_candidates_take_turns():
    calls = []
    rows = time_in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert "".join(calls) == "aabb" * 3  # the first of each pair does not count
    assert all(0 <= row["min"] <= row["median"] for row in rows.values())


def test_the_table_of_a_tiny_network(capsys):
    assert main(["--no-model", "--gfpgan", "--size", "32", "--repeats", "1", "--threads", "1",
                 "--backends", "onnxruntime,torch", "--precisions", "float32"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    lines = {line[:34].strip(): line[34:].split() for line in out.splitlines()[2:]}
    assert list(lines) == [
        "plain GFPGAN", "GFPGAN size, onnxruntime, float32", "GFPGAN size, torch, float32",
    ]  # fmt: skip
    assert lines["plain GFPGAN"][5:7] == ["1.0x", "1.0x"]
    assert float(lines["GFPGAN size, torch, float32"][-1]) > 45  # dB from onnxruntime's


def test_a_model_that_is_not_there(capsys):
    assert main(["--no-reference", "--model", "gone", "--repeats", "1"]) == 2
    assert "gone" in capsys.readouterr().err


@pytest.mark.parametrize(("megapixels", "count"), [(0.1, 1), (0.3, 20), (2.0, 4)])
def test_composed_photos(megapixels, count):
    photo = composed_photo(np.full((64, 64, 3), 255, np.uint8), megapixels, count)
    assert photo.shape[0] * photo.shape[1] == pytest.approx(megapixels * 1e6, rel=0.01)
    white = (photo == 255).all(2)
    side = round((white.sum() / count) ** 0.5)
    assert white.sum() == side * side * count


def test_peak_memory_sees_what_was_given_back():
    with PeakMemory() as memory:
        # mapped anew, because what the allocator had kept and gives again is no rise
        block = mmap.mmap(-1, 60_000_000)
        block.write(b"\1" * 60_000_000)
        deadline = time.monotonic() + 5
        while memory.rise < 30 and time.monotonic() < deadline:
            time.sleep(0.01)
        block.close()
    assert memory.rise > 30
    assert memory.megabytes > memory.rise
