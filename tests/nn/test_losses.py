import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from recloop.nn import losses
from recloop.nn.losses import bce_loss, gbce_loss, sampled_softmax_loss, softmax_loss


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
    real = torch.Tensor.exp_

    def watched(logits: torch.Tensor) -> torch.Tensor:
        sizes.append(logits.numel())
        return real(logits)

    monkeypatch.setattr(torch.Tensor, "exp_", watched)
    softmax_loss(*problem(predictions=7, items=5), max_logits=12)
    assert sizes == [10, 10, 10, 5]


def test_chunks_are_small_where_that_is_still_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks: list[int] = []
    monkeypatch.setattr(losses._ChunkedSoftmax, "apply", lambda *arguments: chunks.append(arguments[3]))
    for items, allowed in ((1000, 1 << 23), (1 << 16, 1 << 23), (1 << 20, 1 << 23), (1 << 20, 1 << 10)):
        softmax_loss(torch.zeros(1, 1), torch.zeros(1, 1).expand(items, 1), torch.zeros(1), allowed)
    assert chunks == [524, 128, 8, 1]


def test_large_logits_stay_finite() -> None:
    hidden = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    loss = softmax_loss(hidden, torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(300)
    assert hidden.grad.tolist() == [[0.0], [-1.0]]


def test_bfloat16_is_near_and_sums_in_float32() -> None:
    hidden, items, targets = (part.detach() for part in problem(predictions=300, items=50, dim=16))
    hidden, items = hidden.float().requires_grad_(), items.float().requires_grad_()
    wanted = torch.autograd.grad(softmax_loss(hidden, items, targets, 1000), [hidden, items])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = softmax_loss(hidden, items, targets, 1000)
    found = torch.autograd.grad(loss, [hidden, items])
    torch.testing.assert_close(loss, cross_entropy(hidden @ items.T, targets), rtol=2e-3, atol=0)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.01 * other.norm()
    assert any((part != part.bfloat16().float()).any() for part in found)


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


def test_draws_of_unequal_chances_are_corrected_by_hand() -> None:
    hidden, items = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    shares = torch.tensor([0.5, 0.3, 0.2])
    loss = sampled_softmax_loss(hidden, items, torch.tensor([1]), torch.tensor([0, 2, 1, 2]), shares)
    assert loss.item() == pytest.approx(math.log(math.e + 1 / 2 + 2 * math.e**2 / 0.8) - 1)


def test_gbce_by_hand() -> None:
    hidden, items = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0], [-1.0], [3.0]])
    loss = gbce_loss(hidden, items, torch.tensor([2]), torch.tensor([0, 3]), calibration=0.5)
    beta = 0.5 * (0.5 * (1 - 2) + 2)  # half of the other four items are sampled
    negatives = math.log(2) + math.log(1 + math.exp(-1))
    assert loss.item() == pytest.approx((beta * math.log(1 + math.exp(-2)) + negatives) / 3)


def test_gbce_without_calibration_is_binary_cross_entropy_and_hits_of_the_target_do_not_count() -> None:
    hidden, items = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    loss = gbce_loss(hidden, items, torch.tensor([2]), torch.tensor([1, 2]), calibration=0.0)
    assert loss.item() == pytest.approx((math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 3)
    plain = bce_loss(hidden, items, torch.tensor([2]), torch.tensor([1]))
    assert plain.item() == pytest.approx(3 * loss.item())


def test_gbce_with_everything_drawn_needs_no_calibration() -> None:
    hidden, items, targets = problem()
    sampled = torch.arange(5)
    plain, calibrated = (gbce_loss(hidden, items, targets, sampled, calibration) for calibration in (0.0, 1.0))
    torch.testing.assert_close(plain, calibrated)


def test_bce_by_hand() -> None:
    hidden, items = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0], [-1.0]])
    loss = bce_loss(hidden, items, torch.tensor([1, 2]), torch.tensor([0, 1]))
    terms = math.log(1 + math.exp(-1)) + math.log(2) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(2))
    assert loss.item() == pytest.approx(terms / 2)


def test_gradients_reach_sampled_items() -> None:
    hidden, items, targets = problem()
    loss = sampled_softmax_loss(hidden, items, targets, torch.tensor([3]))
    loss.backward()
    assert items.grad is not None
    assert items.grad[3].any()
