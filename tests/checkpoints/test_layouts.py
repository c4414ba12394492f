"""Networks of several sizes in each public layout, loaded blind: same arguments, same output."""

import argparse
import math

import pytest
import torch

from restore.checkpoints import layouts
from restore.checkpoints.layouts import fold, unfold
from restore.checkpoints.load import load_network, network_from_state
from restore.errors import CheckpointError
from restore.networks.discriminators import build_discriminator
from restore.networks.gfpgan import build_gfpgan
from restore.networks.stylegan2 import StyleGAN2Generator

DIALECTS = [layouts.BASICSR, layouts.CLEAN, layouts.ROSINALITY, layouts.NVIDIA]
RESTORERS = [
    {"out_size": 32, "narrow": 0.03125, "channel_multiplier": 1, "w_dim": 8, "num_mlp": 1},
    {
        "out_size": 64,
        "narrow": 0.03125,
        "channel_multiplier": 0.5,
        "w_dim": 6,
        "num_mlp": 2,
        "different_w": False,
        "sft_half": False,
    },
    {"out_size": 16, "narrow": 0.0625, "channel_multiplier": 2, "w_dim": 12, "num_mlp": 3},
]


def shuffled(network):
    """Every tensor random, so that no zero or one hides a mistake."""
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g) * 0.1)
    return network.eval()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@pytest.mark.parametrize(
    ("out_size", "channels", "w_dim", "z_dim", "num_mlp"),
    [(8, (4, 6), 5, 5, 1), (32, (12, 10, 8, 4), 7, 7, 3), (64, (8, 8, 8, 8, 6), 9, 9, 2)],
)
@torch.no_grad()
def test_generators(dialect, out_size, channels, w_dim, z_dim, num_mlp, tmp_path):
    upsample = "fir" if dialect.equalised else "bilinear"
    net = shuffled(StyleGAN2Generator(out_size, channels, w_dim, z_dim, num_mlp, upsample))
    net.w_mean.copy_(torch.randn(w_dim))
    arguments = {"channels": channels, "w_dim": w_dim, "z_dim": z_dim, "num_mlp": num_mlp}
    theirs = unfold(net.state_dict(), layouts.generator_rules(arguments, dialect))
    if dialect.w_mean is None:
        del theirs["w_mean"]
    torch.save({"g_ema": theirs}, tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt")
    assert loaded.detection.family == f"stylegan2-{dialect.name}"
    assert tuple(loaded.detection.arguments["channels"]) == channels
    assert loaded.out_size == out_size and loaded.z_dim == z_dim
    z = torch.randn(2, z_dim)
    torch.testing.assert_close(loaded(z), net(z), atol=1e-4, rtol=1e-4)
    if dialect.w_mean is None:
        w = net.map_latents(torch.randn(4000, z_dim))
        tolerance = 5 * float(w.std()) / math.sqrt(4000) * 1.5
        assert (loaded.w_mean - w.mean(dim=0)).abs().max() < tolerance
    else:
        torch.testing.assert_close(loaded.w_mean, net.w_mean)


@pytest.mark.parametrize("options", RESTORERS)
@pytest.mark.parametrize("layout", ["clean", "bilinear", "v1"])
@torch.no_grad()
def test_restorers(options, layout, tmp_path):
    resample = "fir" if layout == "v1" else "bilinear"
    net = shuffled(build_gfpgan(**options, resample=resample))
    arguments = {
        "channels": [layer.conv.affine.out_features for layer in net.decoder.to_rgbs],
        "unet_channels": [
            net.encoder.bottom.out_channels,
            *(layer.in_channels for layer in net.encoder.to_rgb),
        ],
        "w_dim": options["w_dim"],
        "num_mlp": options["num_mlp"],
    }
    rules = [r for r in layouts.gfpgan_rules(arguments, layout == "clean") if not r.optional]
    path = tmp_path / f"net_{layout}.pth"
    state = unfold(net.state_dict(), rules)
    torch.save({"params": {}, "params_ema": {f"module.{k}": v for k, v in state.items()}}, path)
    loaded = load_network(path)  # the dialect that shapes do not tell is in the file's name
    assert loaded.detection.family == f"gfpgan-{layout}"
    found = loaded.detection.options
    assert found["different_w"] is options.get("different_w", True)
    assert found["sft_half"] is options.get("sft_half", True)
    assert found["narrow"] == options["narrow"] and found["out_size"] == options["out_size"]
    expected = options["channel_multiplier"] if options["out_size"] >= 64 else None
    assert found["channel_multiplier"] == expected
    assert ("resample" in loaded.detection.assumed) is (layout != "clean")
    lq = torch.rand(2, 3, options["out_size"], options["out_size"]) * 2 - 1
    torch.testing.assert_close(loaded(lq).image, net(lq).image, atol=1e-4, rtol=1e-4)
    if layout == "bilinear":  # the same tensors under the other reading are another network
        other = load_network(path, resample="fir")
        assert (other(lq).image - net(lq).image).abs().max() > 1e-3


def test_bilinear_folds_to_clean_by_the_published_factors():
    """Factors as GFPGAN's own conversion has them, spelled out here a second time."""
    net = shuffled(build_gfpgan(**RESTORERS[0]))
    arguments = {
        "channels": [16, 16, 16, 16],
        "unet_channels": [8, 8, 8, 8],
        "w_dim": 8,
        "num_mlp": 1,
    }
    clean_rules = [r for r in layouts.gfpgan_rules(arguments, True) if not r.optional]
    bilinear_rules = [r for r in layouts.gfpgan_rules(arguments, False) if not r.optional]
    clean = unfold(net.state_dict(), clean_rules)
    bilinear = unfold(net.state_dict(), bilinear_rules)
    root2 = 2**0.5
    factors = {
        ("stylegan_decoder.style_mlp.1.weight", "stylegan_decoder.style_mlp.1.weight"): 0.01
        / 8**0.5
        * root2,
        ("stylegan_decoder.style_mlp.1.bias", "stylegan_decoder.style_mlp.1.bias"): 0.01 * root2,
        ("stylegan_decoder.style_conv1.weight", "stylegan_decoder.style_conv1.weight"): root2,
        (
            "stylegan_decoder.style_convs.0.activate.bias",
            "stylegan_decoder.style_convs.0.bias",
        ): root2,
        ("conv_body_first.0.weight", "conv_body_first.weight"): root2 / 3**0.5,
        ("conv_body_first.1.bias", "conv_body_first.bias"): root2,
        ("conv_body_down.0.conv1.0.weight", "conv_body_down.0.conv1.weight"): root2 / 72**0.5,
        ("conv_body_down.1.conv2.1.weight", "conv_body_down.1.conv2.weight"): 1 / 72**0.5,
        ("conv_body_down.1.conv2.2.bias", "conv_body_down.1.conv2.bias"): 1.0,
        ("conv_body_down.1.skip.1.weight", "conv_body_down.1.skip.weight"): 1 / 8**0.5 / root2,
        ("conv_body_up.0.conv2.activation.bias", "conv_body_up.0.conv2.bias"): 1.0,
        ("conv_body_up.0.skip.weight", "conv_body_up.0.skip.weight"): 1 / 8**0.5 / root2,
        ("toRGB.1.weight", "toRGB.1.weight"): 1 / 8**0.5,
        ("final_linear.weight", "final_linear.weight"): 1 / 128**0.5,
        ("condition_scale.0.0.bias", "condition_scale.0.0.bias"): root2,
        ("condition_shift.0.2.weight", "condition_shift.0.2.weight"): 1 / 72**0.5,
    }
    for (source, target), factor in factors.items():
        expected = (bilinear[source] * factor).reshape(clean[target].shape)
        torch.testing.assert_close(clean[target], expected)
    refolded = fold(
        bilinear, bilinear_rules, {r.ours: net.state_dict()[r.ours] for r in bilinear_rules}
    )
    for name, tensor in refolded.items():
        torch.testing.assert_close(tensor, net.state_dict()[name])


@torch.no_grad()
def test_discriminator():
    net = shuffled(build_discriminator(32, narrow=0.03125))
    loaded = network_from_state(net.state_dict())
    assert loaded.detection.arguments == {"size": 32, "channels": [16, 16, 16, 16]}
    image = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(loaded(image), net(image))


def test_loading_leaves_the_global_random_state_alone():
    state = build_discriminator(8, narrow=0.02).state_dict()
    before = torch.get_rng_state()
    network_from_state(state)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_problem_is_in_one_message():
    state = StyleGAN2Generator(16, (4, 4, 4), 5, 5, 1).state_dict()
    rules = layouts.generator_rules(
        {"channels": (4, 4, 4), "w_dim": 5, "z_dim": 5, "num_mlp": 1}, layouts.BASICSR
    )
    theirs = unfold(state, rules)
    del theirs["w_mean"], theirs["to_rgbs.0.bias"]
    theirs["style_convs.1.activate.bias"] = torch.zeros(9)
    theirs["extra.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        network_from_state(theirs)
    for part in ("to_rgbs.0.bias is missing", r"is (9,), expected (4,)", "extra.weight"):
        assert part in str(caught.value)
    with pytest.raises(CheckpointError, match="conditional"):
        nvidia = unfold(
            state,
            layouts.generator_rules(
                {"channels": (4, 4, 4), "w_dim": 5, "z_dim": 5, "num_mlp": 1}, layouts.NVIDIA
            ),
        )
        network_from_state({**nvidia, "mapping.embed.weight": torch.zeros(5, 2)})


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 2, 4, 1)])
@torch.no_grad()
def test_a_rosinality_file_as_it_is_written(taps, tmp_path):
    """Kernels among the tensors, the mean of w beside them, the training's arguments."""
    net = shuffled(StyleGAN2Generator(16, (6, 5, 4), 5, 5, 2, taps=taps))
    net.w_mean.copy_(torch.randn(5))
    arguments = {"channels": (6, 5, 4), "w_dim": 5, "z_dim": 5, "num_mlp": 2}
    g_ema = unfold(net.state_dict(), layouts.generator_rules(arguments, layouts.ROSINALITY))
    mean = g_ema.pop("latent_avg")
    line = torch.tensor(taps, dtype=torch.float32)
    kernel = torch.outer(line, line) / line.sum() ** 2 * 4
    for name in ("convs.0.conv.blur.kernel", "to_rgbs.0.upsample.kernel"):
        g_ema[name] = kernel
    content = {"g_ema": g_ema, "latent_avg": mean, "args": argparse.Namespace(size=16)}
    torch.save(content, tmp_path / "550000.pt")
    loaded = load_network(tmp_path / "550000.pt")
    assert "w_mean" not in loaded.detection.assumed
    assert tuple(loaded.taps) == taps
    z = torch.randn(2, 5)
    torch.testing.assert_close(loaded(z), net(z), atol=1e-5, rtol=1e-5)
    expected = torch.lerp(mean.expand(2, -1), net.mapping(z), 0.7)
    torch.testing.assert_close(loaded.mapping(z, truncation=0.7), expected)
    g_ema["convs.0.conv.blur.kernel"] = torch.eye(4)
    with pytest.raises(CheckpointError, match="not separable"):
        network_from_state(g_ema)
