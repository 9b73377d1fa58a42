import pytest
import torch

from recloop.nn.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_mean_stays(share: float) -> None:
    torch.manual_seed(0)
    activations = torch.ones(101, 103, 7, requires_grad=True)
    dropped = Dropout(share)(activations)
    assert abs((dropped == 0).float().mean().item() - share) < 0.01
    assert abs(dropped.mean().item() - 1) < 0.05
    torch.testing.assert_close(dropped.unique(), torch.tensor([0, 1 / (1 - share)]), rtol=1e-3, atol=0)
    dropped.sum().backward()
    assert torch.equal(activations.grad, dropped.detach())


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = Dropout(0.5)(torch.ones(40_000, 4)) > 0
    patterns = (kept * torch.tensor([1, 2, 4, 8])).sum(dim=1).bincount(minlength=16)
    assert patterns.min() > 40_000 / 16 * 0.9
    assert patterns.max() < 40_000 / 16 * 1.1


def test_nothing_is_dropped_outside_training_or_with_share_zero() -> None:
    activations = torch.randn(3, 5)
    assert Dropout(0.5).eval()(activations) is activations or torch.equal(Dropout(0.5).eval()(activations), activations)
    assert torch.equal(Dropout(0.0)(activations), activations)


def test_a_share_next_to_one_still_keeps_some() -> None:
    torch.manual_seed(0)
    dropped = Dropout(1 - 1e-9)(torch.ones(500_000))
    assert set(dropped.unique().tolist()) == {0, 65_536}


def test_the_global_seed_decides() -> None:
    layer = Dropout(0.3)
    torch.manual_seed(4)
    first = layer(torch.ones(9, 11))
    torch.manual_seed(4)
    assert torch.equal(layer(torch.ones(9, 11)), first)
