import pytest
import torch

from restore.losses.degradation import degradation_loss


def test_smooth_l1_of_known_values():
    target = torch.zeros(2, 6)
    predicted = torch.zeros(2, 6)
    predicted[0, 0] = 1.1
    predicted[1, 5] = 0.1
    loss = degradation_loss(predicted, target, beta=0.2)
    torch.testing.assert_close(loss, torch.tensor([1.0, 0.025]) / 6)
    only_first = degradation_loss(predicted, target, weights=[2, 0, 0, 0, 0, 0], beta=0.2)
    torch.testing.assert_close(only_first, torch.tensor([1.0, 0.0]))


def test_unknown_targets_count_nothing():
    target = torch.full((1, 6), float("nan"))
    target[0, 1] = 0.5
    predicted = torch.zeros(1, 6, requires_grad=True)
    degradation_loss(predicted, target).sum().backward()
    assert predicted.grad[0].nonzero().flatten().tolist() == [1]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(1, 5\).*\(1, 6\)"):
        degradation_loss(torch.zeros(1, 5), torch.zeros(1, 6))
