"""Painting at sizes, noise maps, S and the way back to W+, codes in files."""

import pytest
import torch
import torch.nn.functional as F

from restore.checkpoints.model_file import save_model_file
from restore.errors import CheckpointError, InputError
from restore.latents.codes import (
    Codes,
    check_size,
    describe,
    load_codes,
    noise_maps,
    paint,
    paint_codes,
    save_codes,
    styles_of,
)
from restore.latents.spaces import seeds_to_w_plus, style_layers
from tests.latents.tiny import FAMILIES, MOBILE_ARGUMENTS, mobile, stylegan2
from tools.directions import paint_faces


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


def a_code(generator, seed=1):
    torch.manual_seed(seed)
    return torch.randn(2, generator.num_styles, generator.w_dim)


def test_painting_is_the_full_image_averaged_down(generator):
    w_plus = a_code(generator)
    full = generator.synthesis(w_plus)
    for size in (16, 32, generator.out_size):
        expected = F.avg_pool2d(full, generator.out_size // size)
        found = paint(generator, generator.styles(w_plus), size)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [8, 24, 4096])
def test_odd_sizes_are_refused(generator, size):
    with pytest.raises(InputError, match=f"size {size}: expected one of {generator.out_size}"):
        check_size(generator, size)


def test_noise_maps_are_replaced_for_one_painting_only(generator):
    if hasattr(generator, "noise_0"):
        for conv in generator.convs:
            conv.noise_strength.fill_(0.5)
    else:
        for _, buffer in generator.named_buffers():
            if buffer.ndim == 4:
                buffer.normal_()
    styles = generator.styles(a_code(generator))
    before, maps = paint(generator, styles, 32), noise_maps(generator)
    assert {m.shape[-1] for m in maps.values()} >= {4, 8, 16}
    same = paint(generator, styles, 32, {k: v.clone() for k, v in maps.items()})
    assert torch.equal(before, same)
    free = {k: v.clone().requires_grad_() for k, v in maps.items()}
    paint(generator, styles, 32, free).square().sum().backward()
    assert all(v.grad is not None and v.grad.abs().sum() > 0 for v in free.values())
    other = paint(generator, styles, 32, {k: v + 1 for k, v in maps.items()})
    assert not torch.equal(before, other)
    assert torch.equal(before, paint(generator, styles, 32))


def test_codes_survive_their_file(generator, tmp_path):
    w_plus = a_code(generator)
    styles = tuple(s + 0.1 for s in generator.styles(w_plus))
    noise = {k: v + 0.5 for k, v in noise_maps(generator).items()}
    path = tmp_path / "codes.safetensors"
    save_codes(path, Codes(w_plus, styles, noise), ["a", "b"])
    found = load_codes(path, generator)
    assert torch.equal(found.w_plus, w_plus) and len(found) == 2
    assert all(torch.equal(a, b) for a, b in zip(styles_of(generator, found), styles, strict=True))
    expected = paint(generator, list(styles), 16, noise).clamp(-1, 1)
    assert torch.equal(paint_codes(generator, found, 16), expected)


def test_codes_of_another_generator_or_kind_are_refused(tmp_path):
    path = tmp_path / "codes.safetensors"
    save_codes(path, Codes(a_code(mobile())))
    with pytest.raises(InputError, match=r"\[n,8,16\].*--model"):
        load_codes(path, stylegan2())
    with pytest.raises(InputError, match="no codes at"):
        load_codes(tmp_path / "none.safetensors", mobile())
    model = tmp_path / "model.safetensors"
    header = {"architecture": "mobile_stylegan", "arguments": MOBILE_ARGUMENTS}
    save_model_file(model, mobile(), header)
    with pytest.raises(CheckpointError, match=r"restore/1.*expected 'restore-codes/1'"):
        load_codes(model, mobile())


def test_the_layers_are_described(generator):
    table = describe(generator)
    assert table.count("\n") == 1 + len(style_layers(generator))
    assert "| 4." in table and "to_rgb" in table


def test_faces_are_painted_one_by_one_as_in_a_batch(generator):
    codes = seeds_to_w_plus(generator, range(1, 4), 0.7)
    whole = paint(generator, generator.styles(codes), 16).clamp(-1, 1)
    torch.testing.assert_close(paint_faces(generator, codes, 16), whole, atol=1e-5, rtol=1e-5)
    half = paint_faces(generator, codes, 16, half=True)
    assert half.dtype == torch.float32 and (half - whole).abs().mean() < 0.02
