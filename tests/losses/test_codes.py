import torch

from restore.losses.codes import code_loss, distance_from_mean


def test_the_mean_scores_one_and_the_truth_zero():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(64, 32, generator=generator) * 3 + 1
    variance = w.var(0, correction=0)
    at_mean = w.mean(0).expand(64, 5, 32)
    assert torch.allclose(code_loss(at_mean, w, variance).mean(), torch.tensor(1.0))
    assert code_loss(w[:, None].expand(-1, 5, -1), w, variance).max() == 0
    assert distance_from_mean(at_mean, w.mean(0), variance).max() == 0
    spread = distance_from_mean(w[:, None], w.mean(0), variance)
    assert torch.allclose(spread.square().mean(), torch.tensor(1.0))


def test_unknown_codes_count_nothing():
    loss = code_loss(torch.ones(2, 3, 4), torch.zeros(2, 3, 4), known=torch.tensor([1, 0]))
    assert loss.tolist() == [1, 0]
