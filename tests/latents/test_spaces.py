"""Z, W, W+, S of both families: conversions, truncation, rows and levels, plausibility."""

import pytest
import torch

from restore.errors import InputError
from restore.latents.spaces import (
    affine_maps,
    check_styles,
    level_rows,
    measure_w,
    mix,
    style_layers,
    style_spread,
    styles_to_w_plus,
    to_styles,
    to_w_plus,
    truncate,
    z_of_seeds,
    z_to_w_plus,
)
from tests.latents.tiny import FAMILIES, mobile, stylegan2


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


def test_synthesis_from_styles_equals_synthesis_from_codes(generator):
    w_plus = torch.randn(2, generator.num_styles, 16)
    styles = to_styles(generator, w_plus)
    torch.testing.assert_close(
        generator.synthesis_from_styles(styles), generator.synthesis(w_plus), atol=1e-6, rtol=1e-5
    )


def test_layers_name_every_style_and_its_row(generator):
    layers = style_layers(generator)
    w_plus = torch.randn(1, generator.num_styles, 16)
    styles = to_styles(generator, w_plus)
    assert [layer.channels for layer in layers] == [s.shape[1] for s in styles]
    assert len({layer.name for layer in layers}) == len(layers)
    for row in range(generator.num_styles):
        changed = w_plus.clone()
        changed[:, row] += 1
        moved = [
            not torch.equal(a, b)
            for a, b in zip(to_styles(generator, changed), styles, strict=True)
        ]
        assert moved == [layer.row == row for layer in layers]


def test_every_row_belongs_to_one_level(generator):
    rows = level_rows(generator)
    assert sorted(r for found in rows.values() for r in found) == list(range(generator.num_styles))
    assert list(rows) == sorted(rows)


def test_a_level_does_not_reach_below_itself():
    net = mobile()
    w_plus = torch.randn(1, net.num_styles, 16)
    other = mix(w_plus, torch.randn(1, net.num_styles, 16), level_rows(net)[32])
    # the 16 px image is made of levels 4 and 8 and the up-sampling towards 16
    assert torch.equal(net.synthesis(w_plus, size=16), net.synthesis(other, size=16))
    assert not torch.equal(net.synthesis(w_plus), net.synthesis(other))


def test_levels_of_stylegan2():
    assert level_rows(stylegan2()) == {4: (0, 1), 8: (2, 3), 16: (4, 5), 32: (6, 7)}
    names = [layer.name for layer in style_layers(stylegan2())][:5]
    assert names == ["4.conv2", "4.to_rgb", "8.conv1", "8.conv2", "8.to_rgb"]


def test_a_seed_gives_its_z_whatever_the_others_are(generator):
    width = getattr(generator, "z_dim", 16)
    together = z_of_seeds(generator, [3, 4, 5])
    assert together.shape == (3, width)
    assert torch.equal(together[2:], z_of_seeds(generator, [5]))
    assert not torch.equal(together[0], together[1])
    assert z_of_seeds(generator, []).shape == (0, width)


def test_truncation_moves_towards_the_mean(generator):
    z = z_of_seeds(generator, range(3))
    w = generator.mapping(z)
    assert truncate(w, generator.w_mean, 1) is w
    torch.testing.assert_close(
        z_to_w_plus(generator, z, 0.0), generator.w_mean.expand(3, generator.num_styles, -1)
    )
    half = z_to_w_plus(generator, z, 0.5)[:, 0] - generator.w_mean
    torch.testing.assert_close(half, 0.5 * (w - generator.w_mean))


def test_w_of_a_wrong_shape_is_refused(generator):
    with pytest.raises(InputError, match=r"\(2, 7\).*\[n, 16\]"):
        to_w_plus(generator, torch.zeros(2, 7))


def test_mixing_takes_the_rows_and_leaves_its_inputs():
    a, b = torch.zeros(1, 4, 2), torch.ones(1, 4, 2)
    mixed = mix(a, b, [1, 3])
    assert mixed[0, :, 0].tolist() == [0, 1, 0, 1]
    assert a.sum() == 0


def test_distance_is_one_for_codes_of_the_mapping_and_psi_for_truncated_ones(generator):
    net = generator
    known = measure_w(net, 8192, rank=8)
    w = net.mapping(z_of_seeds(net, range(400)))
    rms = known.distance(w).square().mean().sqrt()
    assert rms == pytest.approx(1, abs=0.08)
    halved = known.distance(known.mean + 0.5 * (w - known.mean))
    torch.testing.assert_close(halved, 0.5 * known.distance(w))
    assert known.distance(known.mean) < 1e-5
    assert known.distance(known.mean + 20 * known.axes[0]) > 5
    assert 0 < known.axes.square().sum() <= known.covariance.diagonal().sum()
    assert known.std == pytest.approx(float(w.std(0).square().mean().sqrt()), rel=0.1)


def a_code(generator, seed=1):
    torch.manual_seed(seed)
    return torch.randn(2, generator.num_styles, generator.w_dim)


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
