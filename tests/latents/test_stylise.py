"""Styles: windows equal the whole, drawings, layer swaps, fine-tuning, the commands."""

import numpy as np
import pytest
import torch
from PIL import Image

from restore.errors import InputError, OptionError
from restore.latents.__main__ import main
from restore.latents.drawn_styles import DRAWN, find_style
from restore.latents.generate import load_generator
from restore.latents.generator_file import save_generator
from restore.latents.layer_swap import level_of, swap_layers
from restore.latents.spaces import z_of_seeds, z_to_w_plus
from restore.latents.style_pictures import load_pictures, restored_in_style
from restore.latents.stylise import drawn_target, likeness, picture_target, stylise, trained_part
from restore.latents.stylise_options import StyliseOptions, load_stylise_options
from restore.latents.windows import Window, draw_window, paint_window, whole_level
from restore.networks.mobile_stylegan import MobileStyleGAN
from tests.latents.tiny import FAMILIES, mobile, stylegan2


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


def large():
    """A MobileStyleGAN of 256 px: two levels above the last whole one."""
    torch.manual_seed(3)
    net = MobileStyleGAN((16, 16, 8, 8, 8, 8), w_dim=8, num_mapping=1).eval().requires_grad_(False)
    for block in net.blocks.values():
        block.conv1.noise.normal_()
        block.conv2.noise.normal_()
    return net


def test_a_window_is_a_cut_of_the_whole_picture():
    net = large()
    assert whole_level(net) == 64 and net.out_size == 256
    styles = net.styles(z_to_w_plus(net, z_of_seeds(net, [1, 2])))
    whole = net.synthesis_from_styles(styles)
    for top, left, size in ((0, 0, 64), (64, 100, 64), (192, 192, 64), (32, 0, 128), (0, 0, 256)):
        window = Window(top, left, size, 256)
        torch.testing.assert_close(
            paint_window(net, styles, window), window.of(whole), atol=1e-6, rtol=1e-6
        )


def test_windows_are_drawn_inside(generator):
    draws = torch.Generator().manual_seed(0)
    full = generator.out_size
    places = {draw_window(generator, full // 2, draws) for _ in range(50)}
    assert len(places) > 3
    for window in places:
        assert 0 <= window.top <= full // 2 and 0 <= window.left <= full // 2
    styles = generator.styles(z_to_w_plus(generator, z_of_seeds(generator, [1])))
    window = places.pop()
    torch.testing.assert_close(
        paint_window(generator, styles, window),
        window.of(generator.synthesis_from_styles(styles)),
    )
    with pytest.raises(InputError, match="expected a multiple"):
        draw_window(generator, 2 * full, draws)


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_style_is_drawn_on_a_window_as_on_the_whole(name):
    torch.manual_seed(0)
    picture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 16, 16) * 2 - 1, size=256, mode="bicubic"
    ).clamp(-1, 1)
    draw = find_style(name)
    whole, window = draw(picture, None), Window(64, 96, 64, 256)
    part = draw(window.of(picture), window)
    assert whole.shape == picture.shape and whole.min() >= -1 and whole.max() <= 1
    inner = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(part[inner], window.of(whole)[inner], atol=1e-4, rtol=0)
    spread = whole.mean(1).std()
    assert spread > 0.05  # it draws something
    light, dark = (draw(torch.full((1, 3, 64, 64), v), None).mean() for v in (0.9, -0.9))
    assert light > dark + 0.5


def test_unknown_styles_are_refused():
    with pytest.raises(InputError, match="ink, halftone, sepia"):
        find_style("oil")


def test_every_weight_has_its_level(generator):
    levels = {level_of(generator, name) for name in generator.state_dict()}
    top = generator.out_size // 2 if isinstance(generator, MobileStyleGAN) else generator.out_size
    assert {4, 8, top} <= levels and None in levels
    plain = [n for n in generator.state_dict() if level_of(generator, n) is None]
    assert all("map" in n or n == "w_mean" for n in plain)


def test_swapped_layers_come_from_where_they_should():
    for make in (mobile, stylegan2):
        first, second = make(0), make(1)
        mixed = swap_layers(first, second, 16)
        for name, tensor in mixed.state_dict().items():
            if name.startswith("heads."):
                continue
            level = level_of(first, name)
            source = first if level is None or level < 16 else second
            assert torch.equal(tensor, source.state_dict()[name]), name
        assert torch.equal(first.state_dict()["w_mean"], make(0).state_dict()["w_mean"])
        soft = swap_layers(first, second, 16, softness=3.0)
        shares = {}
        for name in soft.state_dict():
            level = level_of(first, name)
            a, b = first.state_dict()[name], second.state_dict()[name]
            if level is None or name.startswith("heads.") or float((a - b).abs().max()) < 1e-3:
                continue
            place = (a - b).abs().argmax()
            share = (soft.state_dict()[name] - a).flatten()[place] / (b - a).flatten()[place]
            shares.setdefault(level, float(share))
        order = [shares[level] for level in sorted(shares)]
        assert order == sorted(order) and 0 < shares[8] < shares[16] < 1


def test_swapping_refuses_other_forms_and_levels():
    with pytest.raises(InputError, match="differ in form"):
        swap_layers(mobile(), stylegan2(), 16)
    with pytest.raises(InputError, match="no level of 5"):
        swap_layers(mobile(), mobile(1), 5)
    assert torch.equal(swap_layers(mobile(), mobile(), 16).const, mobile().const)


def test_what_may_learn_is_what_the_level_says(generator):
    part = trained_part(generator, 16, True)
    learning = {n for n, t in generator.named_parameters() if t.requires_grad}
    assert learning and all(level_of(generator, n) >= 16 for n in learning)
    assert len(part) > len(learning)  # noise maps as well
    assert len(trained_part(generator, 16, False)) == len(learning)
    with pytest.raises(InputError, match="nothing to train"):
        trained_part(generator, 4096, True)


def test_likeness_sees_through_tones():
    torch.manual_seed(0)
    a = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(likeness(a, 0.3 * a - 0.5), torch.ones(2))
    torch.testing.assert_close(likeness(a, -a), -torch.ones(2))
    assert likeness(a, torch.rand(2, 3, 32, 32)).abs().max() < 0.9


OPTIONS = {"from_level": 4, "window": 32, "batch_size": 2, "lr_g": 2e-2, "ema_half_life_steps": 1.0}


def test_a_style_is_learnt_from_its_drawings():
    net = stylegan2()
    options = StyliseOptions(
        drawn="sepia", steps=25, pair_weight=30, adversarial_weight=0.1, keep_weight=0, **OPTIONS
    )
    before = {n: t.clone() for n, t in net.state_dict().items()}
    result = stylise(net, drawn_target("sepia"), options)
    assert len(result.history) == 25
    first, last = (
        sum(h["pair"] for h in part) for part in (result.history[:5], result.history[-5:])
    )
    assert last < 0.7 * first
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert not any(t.requires_grad for t in result.generator.parameters())
    codes = z_to_w_plus(net, z_of_seeds(net, [50]))
    plain = net.synthesis(codes)
    wanted = find_style("sepia")(plain.clamp(-1, 1), None)
    far = (plain - wanted).abs().mean()
    assert (result.generator.synthesis(codes) - wanted).abs().mean() < 0.7 * far


def test_pictures_without_partners_give_their_colours():
    torch.manual_seed(0)
    net = mobile()
    red = torch.full((3, 3, net.out_size, net.out_size), -0.8)
    red[:, 0] = 0.8
    red += 0.1 * torch.randn_like(red)
    options = StyliseOptions(pictures="unused", steps=60, keep_weight=0.1, **OPTIONS)
    result = stylise(net, picture_target(red), options)
    again = stylise(net, picture_target(red), options)
    codes = z_to_w_plus(net, z_of_seeds(net, [9, 10]))
    before, after = net.synthesis(codes), result.generator.synthesis(codes)
    redder = (after[:, 0] - after[:, 2]).mean() - (before[:, 0] - before[:, 2]).mean()
    assert redder > 0.3
    assert torch.equal(after, again.generator.synthesis(codes))  # a function of the seed


def test_option_files_are_checked(tmp_path):
    path = tmp_path / "o.yml"
    path.write_text("drawn: ink\nwindoww: 3\nlr_g: -1\n")
    with pytest.raises(OptionError, match="window"):
        load_stylise_options(path)
    path.write_text("name: a\n")
    with pytest.raises(OptionError, match="one of the two"):
        load_stylise_options(path)
    path.write_text("drawn: ink\n")
    assert load_stylise_options(path, ["steps=7", "drawn=sepia"]).steps == 7
    with pytest.raises(OptionError, match="cannot be read"):
        load_stylise_options(tmp_path / "none.yml")


def test_the_committed_option_file_is_right():
    from pathlib import Path

    folder = Path(__file__).resolve().parents[2] / "options"
    assert load_stylise_options(folder / "stylise_ink_cpu.yml").pictures == "datasets/ink"


def test_the_commands_draw_train_and_swap(tmp_path, capsys):
    model, folder = tmp_path / "tiny.safetensors", tmp_path / "ink"
    save_generator(model, mobile(), "tiny")
    draw = ["stylise", "draw", "--model", str(model), "--style", "ink", "--count", "3"]
    assert main([*draw, "-o", str(folder)]) == 0
    assert len(list(folder.glob("ink*.png"))) == 3
    assert load_pictures(folder, 16).shape == (3, 3, 16, 16)
    options = tmp_path / "o.yml"
    options.write_text(f"model: {model}\npictures: {folder}\nsteps: 2\nwindow: 32\nfrom_level: 8\n")
    out, mixed = tmp_path / "new/ink.safetensors", tmp_path / "mixed.safetensors"
    train = ["stylise", "train", "-opt", str(options), "--quiet", "-o", str(out)]
    assert main(train) == 0
    assert "2 steps on 3 pictures" in capsys.readouterr().out
    swap = ["stylise", "swap", "--coarse", str(model), "--fine", str(out), "--level", "16"]
    assert main([*swap, "-o", str(mixed)]) == 0
    swapped, fine = load_generator(mixed), load_generator(out)
    assert torch.equal(swapped.to_rgb.weight, fine.to_rgb.weight)
    assert torch.equal(swapped.const, load_generator(model).const)
    for wrong in (
        [*swap[:-1], "7", "-o", str(mixed)],
        [*train[:-1], "x.pth"],
        [*draw[:-3], "oil", "-o", str(folder)],
        [*draw[:-1], "0", "-o", str(folder)],
    ):
        assert main(wrong) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_an_empty_folder_is_no_style(tmp_path):
    with pytest.raises(InputError):
        load_pictures(tmp_path, 16)
    with pytest.raises(InputError, match="no pictures"):
        picture_target(torch.zeros(0, 3, 8, 8))


def test_a_restored_face_goes_through_the_stylised_decoder():
    from restore.networks.unet_encoder import build_mobile_restorer

    torch.manual_seed(0)
    restorer = build_mobile_restorer(
        crop_size=32, trunk_size=16, trunk_channels=(8, 8, 8), condition_levels=(8, 16),
        code_rank=4, prior_channels=(32, 16, 8, 8), w_dim=16, num_mapping=2, head_sizes=(32,),
    ).eval()  # fmt: skip
    faces = torch.rand(1, 3, 32, 32) * 2 - 1
    same = restored_in_style(restorer, restorer.decoder, faces, 32)
    with torch.no_grad():
        torch.testing.assert_close(same, restorer(faces, size=64).image.clamp(-1, 1))
    styled = swap_layers(restorer.decoder, restorer.decoder, 16)
    with torch.no_grad():
        styled.to_rgb.bias[:3] += 1.0
    assert (restored_in_style(restorer, styled, faces, 32) - same).mean() > 0.1
    with pytest.raises(InputError, match="not of the form"):
        restored_in_style(restorer, stylegan2(), faces, 32)


def test_drawn_faces_are_images(tmp_path):
    pixels = np.full((20, 30, 3), 200, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert load_pictures(tmp_path, 8).mean() == pytest.approx(200 / 127.5 - 1, abs=0.01)
