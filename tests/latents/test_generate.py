"""Faces by seed and size, sheets, and the command that draws them."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from restore.checkpoints.model_file import load_prior_heads, save_model_file
from restore.commands.tree import run_verb
from restore.errors import CheckpointError, InputError
from restore.images.contact_sheet import GAP
from restore.latents.generate import (
    generate_faces,
    load_generator,
    native_sizes,
    render,
    to_uint8,
)
from restore.latents.spaces import z_of_seeds, z_to_w_plus
from restore.networks.mobile_stylegan import PriorHeads
from tests.latents.tiny import FAMILIES, MOBILE_ARGUMENTS, mobile, stylegan2

main = partial(run_verb, "latents")


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tiny.safetensors"
    header = {"architecture": "mobile_stylegan", "arguments": MOBILE_ARGUMENTS}
    save_model_file(path, mobile(), header, torch.float32)
    return path


def test_a_native_size_is_painted_as_it_is(generator):
    w_plus = z_to_w_plus(generator, z_of_seeds(generator, [1]))
    for size in native_sizes(generator):
        expected = generator.synthesis(w_plus, size=size).clamp(-1, 1)
        assert torch.equal(render(generator, w_plus, size), expected)
    assert render(generator, w_plus).shape[-1] == generator.out_size


def test_other_sizes_are_shrunk_from_the_next_larger_one(generator):
    w_plus = z_to_w_plus(generator, z_of_seeds(generator, [1]))
    image = render(generator, w_plus, 24)
    assert image.shape == (1, 3, 24, 24) and image.abs().max() <= 1
    source = generator.synthesis(w_plus, size=32).clamp(-1, 1)
    # the mean brightness survives
    torch.testing.assert_close(image.mean(), source.mean(), atol=0.02, rtol=0)


def test_whole_factors_are_block_means():
    net = stylegan2()
    w_plus = z_to_w_plus(net, z_of_seeds(net, [1]))
    expected = torch.nn.functional.avg_pool2d(net.synthesis(w_plus).clamp(-1, 1), 2)
    torch.testing.assert_close(render(net, w_plus, 16), expected)


def test_heads_make_a_size_native_and_leave_the_larger_ones_alone(monkeypatch):
    net = mobile()
    net.heads = torch.nn.ModuleDict()
    heads = PriorHeads((32, 16, 8, 8), (16,))
    heads.start_from(net)
    heads.requires_grad_(False)
    w_plus = z_to_w_plus(net, z_of_seeds(net, [1]))
    assert native_sizes(net, heads) == (16, 32, 64)
    expected = heads(net, w_plus, 16).clamp(-1, 1)
    assert torch.equal(render(net, w_plus, 16, heads), expected)
    for size in (32, 64):
        assert torch.equal(render(net, w_plus, size, heads), render(net, w_plus, size))
    monkeypatch.setattr("restore.latents.generate.load_prior_heads", lambda generator: heads)
    assert np.array_equal(next(generate_faces(net, [1], size=16)), to_uint8(expected)[0])


def test_the_packaged_heads_are_the_packaged_priors():
    net = load_generator()
    heads = load_prior_heads(net)
    assert heads is not None and heads.sizes == (64, 128, 256)
    w_plus = z_to_w_plus(net, z_of_seeds(net, [3]))
    full = render(net, w_plus)
    assert torch.equal(full, net.synthesis(w_plus).clamp(-1, 1))
    for size, wanted in ((64, 28), (128, 31), (256, 35)):
        error = (render(net, w_plus, size, heads) - shrunk(full, size)).square().mean()
        assert 10 * torch.log10(4 / error) > wanted, size
    net.to_rgb.bias.add_(0.1)  # another generator: its pictures are not these heads'
    assert load_prior_heads(net) is None


def shrunk(full, size):
    return torch.nn.functional.avg_pool2d(full, full.shape[-1] // size)


@pytest.mark.parametrize("size", [8, 65, 1024])
def test_sizes_out_of_reach_are_refused(generator, size):
    w_plus = z_to_w_plus(generator, z_of_seeds(generator, [1]))
    with pytest.raises(InputError, match=f"size {size} .* 16 to {generator.out_size} px"):
        render(generator, w_plus, size)


def test_a_face_depends_on_its_seed_alone(generator):
    alone = next(generate_faces(generator, [7], 0.7, 32))
    among = list(generate_faces(generator, [5, 6, 7], 0.7, 32))
    assert alone.dtype == np.uint8 and alone.shape == (32, 32, 3)
    np.testing.assert_array_equal(alone, among[2])
    assert not np.array_equal(among[0], among[1])
    same = list(generate_faces(generator, [5, 6], 0.0, 32))
    np.testing.assert_array_equal(same[0], same[1])
    with pytest.raises(InputError, match="truncation 3"):
        next(generate_faces(generator, [1], 3))


def test_bytes_are_rounded_and_clamped():
    values = torch.tensor([-1.4, -1.0, 0.0, 1.0, 1.3]).reshape(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_the_command_draws_a_sheet_and_the_faces(model, tmp_path, capsys):
    sheet, folder = tmp_path / "out/sheet.png", tmp_path / "faces"
    arguments = ["--seed", "3", "--count", "4", "--size", "32", "--truncation", "0.5"]
    assert (
        run_verb(
            "latents",
            [
                "sample",
                "--model",
                str(model),
                *arguments,
                "-o",
                str(sheet),
                "--folder",
                str(folder),
            ],
        )
        == 0
    )
    assert "4 faces of 32 px, seeds 3 to 6" in capsys.readouterr().out
    with Image.open(sheet) as image:
        assert image.size == (2 * (32 + GAP) + GAP,) * 2
    net = load_generator(model)
    face = np.asarray(Image.open(folder / "seed00005.png"))
    np.testing.assert_array_equal(face, next(generate_faces(net, [5], 0.5, 32)))


def test_errors_are_one_line(model, tmp_path, capsys):
    for wrong in (["--size", "4096"], ["--count", "0"], ["--truncation", "9"]):
        assert (
            run_verb(
                "latents", ["sample", "--model", str(model), *wrong, "-o", str(tmp_path / "s.png")]
            )
            == 2
        )
        error = capsys.readouterr().err
        assert error.startswith("restore: error: ") and error.count("\n") == 1
    assert main(["sample", "--model", str(tmp_path / "none.pth")]) == 2
    assert main(["sample", "--model", str(model), "-o", str(tmp_path / "faces.npy")]) == 2
    assert "python -m tools faces" in capsys.readouterr().err


def test_a_discriminator_is_no_generator(tmp_path):
    from restore.checkpoints.architectures import build_network

    arguments = {"in_size": 16, "channels": [8, 8, 8]}
    try:
        network = build_network("stylegan2_discriminator", arguments)
    except CheckpointError:
        arguments = {"size": 16, "narrow": 0.02}
        network = build_network("stylegan2_discriminator", arguments)
    path = tmp_path / "d.safetensors"
    save_model_file(
        path, network, {"architecture": "stylegan2_discriminator", "arguments": arguments}
    )
    with pytest.raises(CheckpointError, match="expected a generator"):
        load_generator(path)


@pytest.mark.shared
def test_a_public_stylegan2_file_is_sampled(shared):
    net = load_generator(shared / "golden/stylegan2_basicsr_64.pth")
    face = next(generate_faces(net, [1], 0.7, 48))
    assert face.shape == (48, 48, 3) and face.std() > 0


@pytest.mark.shared
def test_of_a_restorer_the_decoder_is_taken(shared):
    net = load_generator(shared / "golden/gfpgan_clean_64.pth")
    assert net.out_size == 64 and len(list(generate_faces(net, [1, 2], 0.7))) == 2


def test_a_generator_comes_without_heads_and_frozen(tmp_path):
    path = tmp_path / "model.safetensors"
    header = {"architecture": "mobile_stylegan", "arguments": MOBILE_ARGUMENTS}
    save_model_file(path, mobile(), header, torch.float32)
    net = load_generator(path)
    assert not net.heads and net.sizes == (32, 64)
    assert not any(p.requires_grad for p in net.parameters())
    assert load_generator(path, keep_heads=True).sizes == (16, 32, 64)
