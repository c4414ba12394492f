"""Inversion: known codes are found again, in every space; masks, noise."""

import pytest
import torch

from restore.errors import InputError
from restore.latents.codes import Codes, noise_maps, paint, paint_codes
from restore.latents.invert import (
    InvertOptions,
    MatchWeights,
    Target,
    TuneOptions,
    code_variables,
    image_loss,
    invert,
    mean_start,
    noise_correlation,
    tune,
)
from restore.latents.spaces import measure_w, z_of_seeds, z_to_w_plus
from tests.latents.tiny import FAMILIES, mobile

PIXELS = MatchWeights(plausible=0.0)


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


def known(generator, seed=5):
    """(statistics, W+ [1,k,d], its picture at 32 px)."""
    statistics = measure_w(generator, 4096, rank=8)
    generator.w_mean.copy_(statistics.mean)
    w_plus = z_to_w_plus(generator, z_of_seeds(generator, [seed]), 0.7)
    return statistics, w_plus, paint(generator, generator.styles(w_plus), 32)


@pytest.mark.parametrize("space", ["w", "w_plus", "s"])
def test_an_image_made_from_a_code_is_recovered(generator, space):
    statistics, _, image = known(generator)
    start = mean_start(generator, 1)
    options = InvertOptions(steps=100, rate=0.2, weights=PIXELS)
    found = invert(generator, [Target(image)], space, start, statistics, options)
    before = (paint(generator, generator.styles(start), 32) - image).square().mean()
    after = (
        (
            paint(generator, list(found.codes.styles or generator.styles(found.codes.w_plus)), 32)
            - image
        )
        .square()
        .mean()
    )
    assert after < 0.01 * before
    assert found.losses.shape == (100, 1) and found.seconds > 0


def test_the_code_itself_is_found_in_w(generator):
    statistics, w_plus, image = known(generator)
    options = InvertOptions(steps=150, rate=0.2, weights=PIXELS)
    found = invert(generator, [Target(image)], "w", mean_start(generator, 1), statistics, options)
    error = (found.codes.w_plus[:, 0] - w_plus[:, 0]).norm()
    assert error < 0.1 * (w_plus[:, 0] - statistics.mean).norm()


def test_steps_along_the_axes_stay_in_their_span():
    net = mobile()
    image = known(net)[2]
    narrow = measure_w(net, 4096, rank=3)
    options = InvertOptions(steps=30, along_axes=True, weights=PIXELS)
    start = mean_start(net, 1)
    found = invert(net, [Target(image)], "w_plus", start, narrow, options)
    steps = (found.codes.w_plus - start)[0]
    axes = torch.linalg.qr(narrow.axes.T).Q
    assert steps.norm() > 0.1
    torch.testing.assert_close(steps @ axes @ axes.T, steps, atol=1e-4, rtol=1e-3)
    assert found.losses[-1] < found.losses[0]


def test_faces_of_a_batch_do_not_touch_each_other(generator):
    statistics, _, image = known(generator)
    other = known(generator, 6)[2]
    options = InvertOptions(steps=10, weights=MatchWeights())
    alone = invert(
        generator, [Target(image)], "w_plus", mean_start(generator, 1), statistics, options
    )
    both = Target(torch.cat([other, image]))
    pair = invert(generator, [both], "w_plus", mean_start(generator, 2), statistics, options)
    torch.testing.assert_close(pair.codes.w_plus[1:], alone.codes.w_plus, atol=1e-3, rtol=1e-3)


def test_what_lies_outside_the_mask_does_not_matter(generator):
    statistics, _, image = known(generator)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    spoilt = torch.where(mask.bool(), image, torch.rand_like(image) * 2 - 1)
    options = InvertOptions(steps=5)
    codes = [
        invert(generator, [Target(x, mask)], "w", mean_start(generator, 1), statistics, options)
        for x in (image, spoilt)
    ]
    torch.testing.assert_close(codes[0].codes.w_plus, codes[1].codes.w_plus)


def test_a_scribble_is_matched_in_its_colours_alone():
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    checks = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2) * 0.2 - 0.1
    loss = image_loss(image + checks, [Target(image, finest=32)], MatchWeights(), None)
    assert loss < 1e-5 < image_loss(image + checks, [Target(image)], MatchWeights(), None)
    with pytest.raises(InputError, match="finest 8 px"):
        image_loss(image, [Target(image, finest=8)], MatchWeights(), None)


def test_noise_maps_take_up_what_codes_cannot():
    net = mobile()
    for value in noise_maps(net).values():
        value.normal_(std=0.1)
    statistics, w_plus, _ = known(net)
    torch.manual_seed(3)
    other = {k: v + 0.05 * torch.randn_like(v) for k, v in noise_maps(net).items()}
    image = paint(net, net.styles(w_plus), 32, other)
    losses = {}
    for noise in (False, True):
        options = InvertOptions(steps=40, noise=noise, weights=PIXELS)
        found = invert(net, [Target(image)], "w_plus", w_plus, statistics, options)
        losses[noise] = (paint_codes(net, found.codes, 32) - image.clamp(-1, 1)).square().mean()
    assert losses[True] < 0.7 * losses[False]
    for name, value in found.codes.noise.items():
        torch.testing.assert_close(value.std(), noise_maps(net)[name].std())


def test_noise_is_told_from_a_picture():
    torch.manual_seed(0)
    noise = torch.randn(2, 1, 64, 64)
    picture = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    assert (noise_correlation(noise) < 0.05).all() and noise_correlation(picture) > 1


def test_errors_name_what_is_wrong(generator):
    statistics, w_plus, image = known(generator)
    with pytest.raises(InputError, match="space 'z': expected one of w, w_plus, s"):
        invert(generator, [Target(image)], "z", w_plus, statistics)
    with pytest.raises(InputError, match=r"start has shape .* expected W\+ \[n,"):
        code_variables(generator, statistics, "w", w_plus[:, :3])
    with pytest.raises(InputError, match="size 24"):
        invert(generator, [Target(image[..., :24, :24])], "w", w_plus, statistics)
    with pytest.raises(InputError, match="square"):
        Target(image[..., :20])
    with pytest.raises(InputError, match="mask of a target"):
        Target(image, torch.ones(1, 1, 16, 16))
    with pytest.raises(InputError, match="got none"):
        invert(generator, [], "w", w_plus, statistics)
    with pytest.raises(InputError, match="steps 0"):
        InvertOptions(steps=0)


def faces(generator, *seeds):
    return Codes(z_to_w_plus(generator, z_of_seeds(generator, seeds)).contiguous())


def test_tuning_brings_the_photo_and_leaves_the_generator_alone(generator):
    codes = faces(generator, 3)
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    wanted = (paint_codes(generator, codes, 32) * 0.7 + 0.2).clamp(-1, 1)
    tuned = tune(generator, codes, Target(wanted), TuneOptions(40, rate=5e-3, local=0.05))
    old = (paint_codes(generator, codes, 32) - wanted).abs().mean()
    new = (paint_codes(tuned.generator, codes, 32) - wanted).abs().mean()
    assert new < 0.5 * old
    for name, value in generator.state_dict().items():
        assert torch.equal(value, before[name])
    same = zip(generator.styles(codes.w_plus), tuned.generator.styles(codes.w_plus), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not any(p.requires_grad for p in tuned.generator.parameters())


def test_locality_holds_the_neighbours(generator):
    codes, other = faces(generator, 3), faces(generator, 8)
    wanted = (paint_codes(generator, codes, 32) * 0.5).clamp(-1, 1)
    moved = {}
    for local in (0.0, 3.0):
        tuned = tune(generator, codes, Target(wanted), TuneOptions(20, rate=3e-3, local=local))
        again = paint(tuned.generator, generator.styles(other.w_plus), 32)
        moved[local] = (again - paint(generator, generator.styles(other.w_plus), 32)).abs().mean()
    assert moved[3.0] < moved[0.0]
    with pytest.raises(InputError, match="1 codes for 2"):
        tune(generator, codes, Target(torch.cat([wanted, wanted])))
