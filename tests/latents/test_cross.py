"""Crossover along masks, children of two faces, pivotal tuning."""

import pytest
import torch

from restore.errors import InputError
from restore.latents.codes import Codes, join_codes, paint_codes
from restore.latents.cross import (
    DrawOptions,
    blend,
    child_codes,
    cross_by_search,
    draw_genes,
    gene_map,
    likeness,
    soft_masks,
)
from restore.latents.face_regions import REGIONS
from restore.latents.invert import InvertOptions
from restore.latents.spaces import measure_w, style_layers, to_styles, z_of_seeds, z_to_w_plus
from tests.latents.tiny import FAMILIES, mobile


@pytest.fixture(params=sorted(FAMILIES))
def generator(request):
    return FAMILIES[request.param]()


def faces(generator, *seeds):
    return Codes(z_to_w_plus(generator, z_of_seeds(generator, seeds)).contiguous())


def halves(side=32):
    mask = torch.zeros(1, 1, side, side)
    mask[..., : side // 2] = 1
    return mask


def test_one_parent_twice_is_that_parent(generator):
    same = faces(generator, 3, 3)
    masks = soft_masks(halves(), 0.1)
    for size in (16, generator.out_size):
        expected = paint_codes(generator, faces(generator, 3), size)
        torch.testing.assert_close(
            blend(generator, same, masks, size), expected, atol=1e-5, rtol=1e-4
        )


def test_masks_of_one_parent_everywhere_give_that_parent(generator):
    two = faces(generator, 3, 4)
    masks = torch.cat([torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)])
    expected = paint_codes(generator, faces(generator, 3), 32)
    torch.testing.assert_close(blend(generator, two, masks, 32), expected, atol=1e-5, rtol=1e-4)


def test_each_side_of_a_blend_is_nearer_to_its_parent(generator):
    two, size = faces(generator, 3, 4), generator.out_size
    child = blend(generator, two, soft_masks(halves(size), 0.0), size)
    first, second = (paint_codes(generator, faces(generator, s), size) for s in (3, 4))
    left, right = slice(0, size // 4), slice(-size // 4, None)
    for place, own, other in ((left, first, second), (right, second, first)):
        near = (child[..., place] - own[..., place]).abs().mean()
        assert near < 0.7 * (child[..., place] - other[..., place]).abs().mean()
    # the hooks are gone
    again = paint_codes(generator, faces(generator, 3), size)
    assert torch.equal(again, first)


def test_masks_that_do_not_fit_are_refused(generator):
    two = faces(generator, 3, 4)
    with pytest.raises(InputError, match=r"add up to 0.5 .. 0.5"):
        blend(generator, two, torch.full((2, 1, 16, 16), 0.25), 32)
    with pytest.raises(InputError, match="for 2 parents"):
        blend(generator, two, torch.ones(3, 1, 16, 16) / 3, 32)
    with pytest.raises(InputError, match="square one"):
        soft_masks(torch.ones(1, 1, 16, 20))
    soft = soft_masks(halves(), 0.1)
    torch.testing.assert_close(soft.sum(0), torch.ones(1, 32, 32))
    assert 0.3 < soft[0, 0, 16, 16] < 0.7


def test_a_search_for_one_parent_twice_finds_it():
    net = mobile()
    parents = join_codes(net, [faces(net, 3), faces(net, 3)])
    options = InvertOptions(steps=3, rate=1e-6)
    found = cross_by_search(
        net, parents, soft_masks(halves(), 0.0), 32, measure_w(net, 2048, rank=8), options
    )
    torch.testing.assert_close(found.codes.w_plus, faces(net, 3).w_plus, atol=1e-4, rtol=1e-4)


def test_a_search_comes_closer_to_both_parents():
    net = mobile()
    parents, masks = faces(net, 3, 4), soft_masks(halves(), 0.0)
    options = InvertOptions(steps=60)
    found = cross_by_search(net, parents, masks, 32, measure_w(net, 2048, rank=8), options)
    assert found.losses[-1] < 0.8 * found.losses[0]
    with pytest.raises(InputError, match="expected two"):
        cross_by_search(net, faces(net, 3), masks, 32, measure_w(net, 64, rank=8))


def energies(generator):
    torch.manual_seed(0)
    return torch.rand(len(REGIONS), sum(layer.channels for layer in style_layers(generator)))


def test_each_channel_belongs_to_genes_in_shares_that_add_up(generator):
    genes = gene_map(generator, energies(generator))
    torch.testing.assert_close(genes.share.sum(0), torch.ones(genes.share.shape[1]))
    at = 0
    for layer in style_layers(generator):
        pose = genes.share[-1, at : at + layer.channels]
        assert (pose == (1 if layer.level < 16 else 0)).all()
        at += layer.channels
    with pytest.raises(InputError, match="of this generator"):
        gene_map(generator, torch.rand(len(REGIONS), 5))


def test_a_child_of_one_parent_twice_is_that_parent(generator):
    genes = gene_map(generator, energies(generator))
    drawn = draw_genes(genes, 1, DrawOptions(mutation_prob=0.0))
    parent = to_styles(generator, faces(generator, 3).w_plus)
    pool = to_styles(generator, faces(generator, *range(10, 10 + len(genes.names))).w_plus)
    child = child_codes(generator, genes, drawn, parent, parent, pool)
    for style, expected in zip(child.styles, parent, strict=True):
        torch.testing.assert_close(style, expected)


def test_a_gene_of_one_parent_brings_its_channels():
    net = mobile()
    shares = torch.full((len(REGIONS), sum(net.style_sizes)), 1e-9)
    shares[2] = 1.0  # all channels above 8 px act on the nose
    genes = gene_map(net, shares)
    drawn = draw_genes(genes, 5, DrawOptions(dominance=1.0, mutation_prob=0.0))
    a, b = (to_styles(net, faces(net, s).w_plus) for s in (3, 4))
    pool = to_styles(net, faces(net, *range(8)).w_plus)
    child = child_codes(net, genes, drawn, a, b, pool)
    nose, pose = drawn.first[2] > 0.5, drawn.first[-1] > 0.5
    for layer, style, x, y in zip(style_layers(net), child.styles, a, b, strict=True):
        whose = x if (pose if layer.level < 16 else nose) else y
        torch.testing.assert_close(style, whose, atol=1e-3, rtol=1e-3)


def test_mutations_bring_in_the_stranger():
    net = mobile()
    genes = gene_map(net, energies(net))
    drawn = draw_genes(genes, 2, DrawOptions(mutation_prob=1.0, mutation=1.0))
    parent = to_styles(net, faces(net, 3).w_plus)
    pool = to_styles(net, faces(net, *[9] * len(genes.names)).w_plus)
    child = child_codes(net, genes, drawn, parent, parent, pool)
    for style, stranger in zip(child.styles, pool, strict=True):
        torch.testing.assert_close(style, stranger[:1], atol=1e-5, rtol=1e-4)


def test_draws_are_functions_of_the_seed():
    genes = gene_map(mobile(), energies(mobile()))
    first, again, other = (draw_genes(genes, seed) for seed in (1, 1, 2))
    assert torch.equal(first.first, again.first) and first.stranger == again.stranger
    assert not torch.equal(first.first, other.first)
    assert ((first.first >= 0) & (first.first <= 1)).all()
    with pytest.raises(InputError, match="dominance 2"):
        DrawOptions(dominance=2)


def test_likeness_tells_whose_a_region_is():
    torch.manual_seed(0)
    a, b = torch.rand(1, 3, 64, 64) * 2 - 1, torch.rand(1, 3, 64, 64) * 2 - 1
    assert all(value == 1 for value in likeness(a, a, b).values())
    assert all(value == 0 for value in likeness(b, a, b).values())
    assert likeness(a, a, a)["nose"] == 0.5
    mixed = likeness((a + b) / 2, a, b)
    assert all(0.45 < value < 0.55 for value in mixed.values())
