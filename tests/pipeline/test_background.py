"""The background: plain resampling against a reference, and networks in tiles."""

import sys

import numpy as np
import pytest

from restore.errors import MissingExtraError, OptionError
from restore.pipeline.canvas import (
    TiledUpsampler,
    load_upsampler,
    resize_alpha,
    resize_background,
    scaled_size,
)
from restore.pipeline.restorer import Restorer
from tests.pipeline.fakes import FixedDetector, InvertRuntime, face_at
from tests.pipeline.test_restorer import smooth


def test_scaled_size_is_round_and_at_least_one():
    assert scaled_size(83, 101, 1.5) == (round(83 * 1.5), round(101 * 1.5))
    assert scaled_size(1, 1000, 0.01) == (1, 10)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 3])
def test_resampling_keeps_positions(dtype, channels):
    # A ramp has one value at each position: x of the result is (x + 0.5) / s - 0.5 of the photo.
    top = np.iinfo(dtype).max
    ramp = np.tile(np.linspace(0.2, 0.8, 40), (40, 1))
    photo = np.rint(ramp * top).astype(dtype)
    photo = photo if channels is None else np.dstack([photo] * channels)
    for size in ((80, 80), (100, 60), (20, 20)):
        out = resize_background(photo, size)
        x = (np.arange(size[0]) + 0.5) * 40 / size[0] - 0.5
        expected = (0.2 + 0.6 * x / 39) * top
        row = out[size[1] // 2] if channels is None else out[size[1] // 2, :, 0]
        inner = slice(8, -8) if size[0] > 40 else slice(1, -1)
        assert np.abs(row - expected)[inner].max() < 0.01 * top
        assert out.dtype == dtype
    assert resize_background(photo, (40, 40)) is not photo


def test_alpha_does_not_ring():
    alpha = np.zeros((10, 10), np.uint8)
    alpha[:, 5:] = 100
    assert resize_alpha(alpha, (40, 40)).max() == 100


class Doubler:
    """Nearest-neighbour network with a receptive field of one pixel, on tensors."""

    def __init__(self):
        import torch

        self.device, self.sizes = torch.device("cpu"), []

    def __call__(self, image):
        self.sizes.append(tuple(image.shape[2:]))
        return image.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_are_put_together_without_loss(dtype):
    photo = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (45, 70, 3)).astype(dtype)
    model = Doubler()
    out = TiledUpsampler(model, 2, tile=20, overlap=4).enlarge(photo)
    assert np.array_equal(out, photo.repeat(2, 0).repeat(2, 1))
    assert len(model.sizes) == 12
    assert max(max(size) for size in model.sizes) == 28


def test_restorer_brings_the_upsampler_to_the_exact_size():
    upsampler = TiledUpsampler(Doubler(), 2, tile=0)
    restorer = Restorer(InvertRuntime(), FixedDetector(face_at(50, 40, 30)), upsampler)
    for channels in (1, 3, 4):
        image = restorer.restore(smooth(83, 101, channels), scale=1.5).image
        assert image.shape == (round(83 * 1.5), round(101 * 1.5), channels)


def test_esrgan_file(tmp_path):
    pytest.importorskip("spandrel")
    import torch
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    torch.manual_seed(0)
    network = RRDBNet(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=2)
    torch.save(network.state_dict(), tmp_path / "x2.pth")
    upsampler = load_upsampler(tmp_path / "x2.pth", tile=24, device="cpu")
    photo = smooth(40, 50)
    tiled = upsampler.enlarge(photo)
    whole = load_upsampler(tmp_path / "x2.pth", tile=0, device="cpu").enlarge(photo)
    assert tiled.shape == (80, 100, 3)
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    with torch.inference_mode():
        tensor = torch.from_numpy(photo.astype(np.float32) / 255).permute(2, 0, 1)[None]
        expected = network.eval()(tensor)[0].permute(1, 2, 0).numpy().clip(0, 1) * 255
    assert np.abs(whole - expected).max() <= 1


def test_what_is_no_upsampler_is_refused(tmp_path, monkeypatch):
    with pytest.raises(OptionError, match="no such file"):
        load_upsampler("realesrgan")
    (tmp_path / "a.pth").write_bytes(b"nothing")
    with pytest.raises(OptionError, match="0 or more"):
        load_upsampler(tmp_path / "a.pth", tile=-1)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingExtraError, match=r"restore\[peers\]"):
        load_upsampler(tmp_path / "a.pth")


def test_broken_weights_are_refused(tmp_path):
    pytest.importorskip("spandrel")
    (tmp_path / "a.pth").write_bytes(b"nothing")
    with pytest.raises(OptionError, match="no network that is known"):
        load_upsampler(tmp_path / "a.pth")
