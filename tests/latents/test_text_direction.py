"""Directions from words on a tiny random open_clip model, loaded from a file."""

import json
from functools import partial

import pytest
import torch

from restore.commands.tree import run_verb
from restore.errors import CheckpointError, InputError
from restore.latents.directions import load_directions, move
from restore.latents.generate import save_generator
from restore.latents.spaces import measure_w, styles_step
from restore.latents.text_direction import relevances, text_difference, text_direction
from tests.latents.tiny import mobile, stylegan2

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed (extra: clip)")

from restore.latents.text_direction import load_clip  # noqa: E402

main = partial(run_verb, "latents")


CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("clip")
    config, weights = folder / "tiny-clip.json", folder / "weights.safetensors"
    config.write_text(json.dumps(CONFIG))
    torch.manual_seed(0)
    open_clip.add_model_config(config)
    network = open_clip.create_model("tiny-clip", pretrained=None, load_weights=False)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
    return config, weights, network


@pytest.fixture(scope="module")
def clip(files):
    return load_clip(files[1], "ignored", files[0])


def test_the_model_comes_from_the_file(files, clip):
    for name, tensor in files[2].state_dict().items():
        assert torch.equal(tensor, clip.network.state_dict()[name])
    assert not any(p.requires_grad for p in clip.network.parameters())
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    embedded = clip.pictures(images)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(2))
    small = torch.nn.functional.interpolate(
        images, (32, 32), mode="bicubic", align_corners=False, antialias=True
    )
    mean = torch.tensor(clip.network.visual.image_mean or (0.48145466, 0.4578275, 0.40821073))
    std = torch.tensor(clip.network.visual.image_std or (0.26862954, 0.26130258, 0.27577711))
    plain = ((small + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        by_hand = files[2].eval().encode_image(plain)
    by_hand = by_hand / by_hand.norm(dim=1, keepdim=True)
    torch.testing.assert_close(embedded, by_hand, atol=1e-5, rtol=1e-4)
    texts = clip.texts(["a face", "a cat"])
    assert texts.shape == (2, 16) and not torch.allclose(texts[0], texts[1])


def test_wrong_files_and_names_are_told(files, tmp_path):
    config, weights, _ = files
    with pytest.raises(CheckpointError, match="no open_clip weights"):
        load_clip(tmp_path / "none.pt", "ViT-B-32")
    with pytest.raises(InputError, match="no architecture"):
        load_clip(weights, "ViT-of-nobody")
    with pytest.raises(CheckpointError, match="no model configuration"):
        load_clip(weights, "x", tmp_path / "none.json")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**CONFIG, "embed_dim": 24}))
    with pytest.raises(CheckpointError, match="is not open_clip's other"):
        load_clip(weights, "x", other)
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"not a file of torch")
    with pytest.raises(CheckpointError, match="is not open_clip's"):
        load_clip(broken, "x", config)


def test_the_step_is_a_unit_from_neutral_to_text(clip):
    step = text_difference(clip, "a smiling face", "a face")
    assert float(step.norm()) == pytest.approx(1)
    torch.testing.assert_close(
        text_difference(clip, "a face", "a smiling face"), -step, atol=1e-4, rtol=1e-3
    )
    with pytest.raises(InputError, match="say the same"):
        text_difference(clip, "a face", "a face")
    with pytest.raises(InputError, match="empty text"):
        clip.texts([" "])


@pytest.mark.parametrize("make", [mobile, stylegan2])
def test_relevances_are_the_slopes_of_the_similarity(clip, make):
    net = make()
    step = text_difference(clip, "an old man", "a face")
    w = measure_w(net, 4096).mean[None]
    ones = [torch.ones(c) for c in net.style_sizes]
    found = relevances(net, clip, step, w, ones, net.out_size)
    from restore.latents.codes import paint

    with torch.no_grad():
        styles = net.styles(w[:, None].expand(-1, net.num_styles, -1))
        layer = max(range(len(found)), key=lambda i: float(found[i].abs().max()))
        channel = int(found[layer].abs().argmax())
        sides = []
        for side in (1e-2, -1e-2):
            moved = [s.clone() for s in styles]
            moved[layer][:, channel] += side
            sides.append(
                float((clip.pictures(paint(net, moved, net.out_size).clamp(-1, 1)) @ step)[0])
            )
    slope = (sides[0] - sides[1]) / 2e-2
    assert float(found[layer][channel]) == pytest.approx(slope, rel=0.1)


def test_a_step_of_styles_becomes_one_of_codes():
    net = mobile()
    torch.manual_seed(1)
    steps = [torch.zeros(c) for c in net.style_sizes]
    steps[4] = torch.randn(net.style_sizes[4])  # 8 channels of 16 numbers: can be met exactly
    vector = styles_step(net, [step[None] for step in steps])[0]
    assert torch.nonzero(vector.abs().sum(1))[:, 0].tolist() == [4]
    codes = net.w_mean.expand(1, net.num_styles, -1)
    before, after = net.styles(codes), net.styles(codes + vector)
    for i, step in enumerate(steps):
        torch.testing.assert_close((after[i] - before[i])[0], step, atol=1e-4, rtol=1e-3)


def test_moving_along_the_direction_answers_the_words(clip):
    net = stylegan2()
    statistics = measure_w(net, 4096)
    w = statistics.mean + 0.3 * torch.randn(3, net.w_dim)
    found = text_direction(net, clip, "a red cat", "a face", w, statistics, 12, net.out_size)
    step = text_difference(clip, "a red cat", "a face")
    codes = w[:, None].expand(-1, net.num_styles, -1)

    def along(strength):
        images = net.synthesis(move(codes, found, strength)).clamp(-1, 1)
        return float((clip.pictures(images) @ step).mean())

    assert along(0.3) > along(0) > along(-0.3)
    assert found.card["channels"] == 12 and found.name == "a-red-cat"
    with pytest.raises(InputError, match="channels"):
        text_direction(net, clip, "a", "b", w, statistics, 0, net.out_size)


def test_the_command_writes_a_direction(files, tmp_path, capsys):
    model, out = tmp_path / "tiny.safetensors", tmp_path / "text.safetensors"
    save_generator(model, mobile(), "tiny")
    words = ["directions", "text", "--model", str(model), "--clip", str(files[1])]
    words += ["--clip-config", str(files[0]), "--text", "a happy face", "--faces", "2"]
    words += ["--size", "32", "-o", str(out)]
    assert main(words) == 0, capsys.readouterr().err
    assert load_directions(out).names == ("a-happy-face",)
    edited = tmp_path / "e.png"
    edit = ["edit", "--model", str(model), "--file", str(out), "--direction", "a-happy-face"]
    assert main([*edit, "--seed", "1", "--size", "32", "--pair", "-o", str(edited)]) == 0
    assert edited.stat().st_size > 0
    assert main([*edit[:-1], "nobody", "--seed", "1", "-o", str(edited)]) == 2
    assert "There are: a-happy-face" in capsys.readouterr().err
