"""Painting at sizes, noise maps, S and the way back to W+, codes in files."""

import pytest
import torch
import torch.nn.functional as F

from restore.checkpoints.model_file import save_model_file
from restore.errors import CheckpointError, InputError
from restore.latents.codes import Codes, describe, load_codes, paint_codes, save_codes, styles_of
from restore.latents.generate import load_generator
from restore.latents.paint import check_size, noise_maps, paint
from restore.latents.spaces import measure_w, style_layers, z_of_seeds, z_to_w_plus
from restore.latents.styles import affine_maps, check_styles, style_spread, styles_to_w_plus
from tests.latents.tiny import FAMILIES, MOBILE_ARGUMENTS, mobile, stylegan2


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


def test_affine_maps_give_the_styles(generator):
    w_plus = a_code(generator)
    for (weight, bias), layer, style in zip(
        affine_maps(generator), style_layers(generator), generator.styles(w_plus), strict=True
    ):
        torch.testing.assert_close(w_plus[:, layer.row] @ weight.T + bias, style)


def test_the_spread_of_styles_is_that_of_the_samples(generator):
    spread = style_spread(generator, measure_w(generator, 8192, rank=8))
    w_plus = z_to_w_plus(generator, z_of_seeds(generator, range(2000)))
    for (mean, std), style in zip(spread, generator.styles(w_plus), strict=True):
        torch.testing.assert_close(std, style.std(0), rtol=0.15, atol=1e-4)
        assert ((mean - style.mean(0)).abs() < 0.15 * std + 1e-4).all()


def test_styles_of_a_code_lead_back_to_the_same_styles(generator):
    styles = generator.styles(a_code(generator))
    w_plus, rest = styles_to_w_plus(generator, styles)
    assert rest.max() < 1e-5
    for again, style in zip(generator.styles(w_plus), styles, strict=True):
        torch.testing.assert_close(again, style, atol=1e-4, rtol=1e-4)


def test_styles_that_no_code_has_leave_a_rest():
    net = mobile()
    styles = net.styles(a_code(net))
    styles[0] = styles[0] + 3 * torch.randn_like(styles[0])  # 32 channels of 16 numbers
    assert styles_to_w_plus(net, styles)[1].min() > 0.1


def test_styles_of_another_generator_are_refused():
    net = mobile()
    with pytest.raises(InputError, match=r"9 styles; this generator has 11, from"):
        check_styles(net, net.styles(a_code(net))[:9])
    with pytest.raises(InputError, match=r"style 4.conv_4 has shape \(2, 8\), expected \[n,32\]"):
        check_styles(net, stylegan2().styles(a_code(stylegan2())))
    styles = net.styles(a_code(net))
    styles[1] = styles[1][:, :5]
    with pytest.raises(InputError, match=r"style 8.up has shape \(2, 5\), expected \[n,32\]"):
        check_styles(net, styles)


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


def test_a_generator_comes_without_heads_and_frozen(tmp_path):
    path = tmp_path / "model.safetensors"
    header = {"architecture": "mobile_stylegan", "arguments": MOBILE_ARGUMENTS}
    save_model_file(path, mobile(), header, torch.float32)
    net = load_generator(path)
    assert not net.heads and net.sizes == (32, 64)
    assert not any(p.requires_grad for p in net.parameters())
    assert load_generator(path, keep_heads=True).sizes == (16, 32, 64)


def test_the_layers_are_described(generator):
    table = describe(generator)
    assert table.count("\n") == 1 + len(style_layers(generator))
    assert "| 4." in table and "to_rgb" in table
