"""Ways between codes, strips and films."""

import subprocess

import numpy as np
import pytest
import torch

from restore.errors import InputError, MissingExtraError
from restore.images.files import read_photo
from restore.latents.codes import Codes
from restore.latents.film import (
    eased,
    lerp,
    slerp,
    steps,
    walk_codes,
    walk_z,
    write_film,
    write_frames,
)
from restore.latents.spaces import z_of_seeds, z_to_w_plus
from tests.latents.tiny import mobile


def test_a_great_circle_starts_and_ends_at_its_ends():
    torch.manual_seed(0)
    a, b = torch.randn(3, 16), torch.randn(3, 16)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, a, 0.4), a)
    lengths = (a.norm(dim=1) + b.norm(dim=1)) / 2
    torch.testing.assert_close(slerp(a, b, 0.5).norm(dim=1), lengths)


def test_a_great_circle_turns_evenly():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    third = slerp(a, b, 1 / 3)
    angle = torch.tensor(30.0).deg2rad()
    torch.testing.assert_close(third, torch.stack([angle.cos(), angle.sin()])[None])


def test_straight_lines_use_s_where_both_have_it():
    net = mobile()
    w = torch.randn(2, net.num_styles, 16)
    plain = [Codes(w[:1]), Codes(w[1:])]
    torch.testing.assert_close(lerp(*plain, 0.25).w_plus, 0.75 * w[:1] + 0.25 * w[1:])
    assert lerp(*plain, 0.5).styles is None
    whole = [Codes(c.w_plus, tuple(net.styles(c.w_plus))) for c in plain]
    middle = lerp(*whole, 0.5)
    for style, a, b in zip(middle.styles, whole[0].styles, whole[1].styles, strict=True):
        torch.testing.assert_close(style, (a + b) / 2)


def test_walks_pass_their_stations():
    net = mobile()
    walked = list(walk_z(net, [1, 2, 3], 4, 0.7))
    assert len(walked) == 9
    for place, seed in zip((0, 4, 8), (1, 2, 3), strict=True):
        expected = z_to_w_plus(net, z_of_seeds(net, [seed]), 0.7)
        torch.testing.assert_close(walked[place].w_plus, expected, atol=1e-5, rtol=1e-4)
    ends = [Codes(torch.randn(1, net.num_styles, 16)) for _ in range(2)]
    ring = list(walk_codes(ends, 3, loop=True))
    assert len(ring) == 6 and torch.equal(ring[3].w_plus, ends[1].w_plus)
    assert [eased(t) for t in (0, 0.5, 1)] == pytest.approx([0, 0.5, 1])
    with pytest.raises(InputError, match="1 stations"):
        list(steps(1, 4, False))


def frames(count=5, side=32):
    return [np.full((side, side, 3), 40 * i, np.uint8) for i in range(count)]


def test_frames_become_numbered_pictures(tmp_path):
    assert write_frames(iter(frames()), tmp_path / "film") == 5
    names = sorted(p.name for p in (tmp_path / "film").iterdir())
    assert names[0] == "frame00000.png" and names[-1] == "frame00004.png"
    np.testing.assert_array_equal(read_photo(tmp_path / "film" / names[2]).pixels, frames()[2])


def test_frames_become_a_film(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    path = tmp_path / "a" / "film.mp4"
    assert write_film(iter(frames()), path, 10) == 5
    decode = [ffmpeg, "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, capture_output=True, check=True, timeout=60).stdout
    seen = np.frombuffer(raw, np.uint8).reshape(-1, 32, 32, 3)
    assert len(seen) == 5
    assert np.abs(seen.mean((1, 2, 3)) - 40 * np.arange(5)).max() < 6
    assert [p.name for p in path.parent.iterdir()] == ["film.mp4"]


def test_films_that_cannot_be_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(InputError, match="even sides"):
        write_film(frames(2, 31), tmp_path / "f.mp4")
    with pytest.raises(InputError, match="got none"):
        write_film([], tmp_path / "f.mp4")
    with pytest.raises(InputError, match="frame 1 is"):
        write_film([frames()[0], frames(1, 16)[0]], tmp_path / "f.mp4")
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtraError, match=r"restore\[film\]"):
        write_film(frames(), tmp_path / "f.mp4")
