import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from recloop.nn.losses import sampled_softmax_loss, softmax_loss


def problem(predictions: int = 7, items: int = 5, dim: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(predictions, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(items, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    return hidden, weights, torch.randint(items, (predictions,), generator=generator)


def test_softmax_loss_by_hand() -> None:
    hidden, items = torch.tensor([[math.log(2.0)], [0.0]]), torch.tensor([[1.0], [0.0], [2.0]])
    loss = softmax_loss(hidden, items, torch.tensor([2, 0]))
    assert loss.item() == pytest.approx((math.log(7 / 4) + math.log(3)) / 2)


@pytest.mark.parametrize("max_logits", [1, 10, 1000])
def test_chunks_change_neither_the_loss_nor_its_gradients(max_logits: int) -> None:
    hidden, items, targets = problem()
    expected = cross_entropy(hidden @ items.T, targets) * 3
    wanted = torch.autograd.grad(expected, [hidden, items])
    loss = softmax_loss(hidden, items, targets, max_logits) * 3
    found = torch.autograd.grad(loss, [hidden, items])
    torch.testing.assert_close(loss, expected.float(), check_dtype=False)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_never_more_logits_than_allowed_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = torch.log_softmax

    def watched(logits: torch.Tensor, dim: int) -> torch.Tensor:
        sizes.append(logits.numel())
        return real(logits, dim=dim)

    monkeypatch.setattr(torch, "log_softmax", watched)
    softmax_loss(*problem(predictions=7, items=5), max_logits=12)
    assert sizes == [10, 10, 10, 5]


def test_sampled_softmax_loss_by_hand() -> None:
    hidden, items = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
    loss = sampled_softmax_loss(hidden, items, torch.tensor([1]), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(math.log(math.e + 2.5) - 1)


def test_sampling_every_item_once_is_the_full_loss() -> None:
    hidden, items, targets = problem()
    loss = sampled_softmax_loss(hidden, items, targets, torch.arange(5))
    torch.testing.assert_close(loss, cross_entropy((hidden @ items.T).float(), targets))


def test_every_draw_of_two_items_is_as_likely_as_it_counts() -> None:
    # the four draws of two items, each as likely: their mean denominator is the exact one
    hidden, items = torch.tensor([[1.0]]), torch.tensor([[0.5], [2.0]])
    draws = [torch.tensor([first, second]) for first in range(2) for second in range(2)]
    losses = [sampled_softmax_loss(hidden, items, torch.tensor([0]), draw).item() for draw in draws]
    denominators = [math.exp(loss + 0.5) for loss in losses]
    assert sum(denominators) / 4 == pytest.approx(math.exp(0.5) + math.exp(2.0))


def test_the_sampled_denominator_is_right_on_average() -> None:
    hidden, items, targets = problem(predictions=1, items=50)
    hidden = hidden / 4
    generator = torch.Generator().manual_seed(1)
    draws = [
        sampled_softmax_loss(hidden, items, targets, torch.randint(50, (2000,), generator=generator)).item()
        for _ in range(20)
    ]
    exact = cross_entropy(hidden @ items.T, targets).item()
    assert sum(draws) / len(draws) == pytest.approx(exact, abs=0.03)


def test_gradients_reach_sampled_items() -> None:
    hidden, items, targets = problem()
    loss = sampled_softmax_loss(hidden, items, targets, torch.tensor([3]))
    loss.backward()
    assert items.grad is not None
    assert items.grad[3].any()
