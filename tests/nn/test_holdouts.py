import math

import numpy as np
import pytest
import torch
from scipy import sparse

from recloop.nn.holdouts import Candidates, Holdout, HoldoutStore, bags, log_loss

CPU = torch.device("cpu")


def store() -> HoldoutStore:
    dense = np.array([[1, 0, 2, 3, 0], [0, 0, 0, 0, 0], [0, 4, 0, 0, 5]], dtype=np.float32)
    return HoldoutStore(sparse.csr_matrix(dense))


def test_every_event_is_either_shown_or_asked_for() -> None:
    generator = torch.Generator().manual_seed(1)
    shown_once, asked_once = set(), set()
    for _ in range(30):
        cut = store().batch(np.array([2, 1, 0]), CPU, generator)
        shown = list(zip(cut.shown.rows.tolist(), cut.shown.items.tolist(), strict=True))
        asked = list(zip(cut.rows.tolist(), cut.items.tolist(), strict=True))
        assert sorted(shown + asked) == [(0, 1), (0, 4), (2, 0), (2, 2), (2, 3)]
        assert len(cut.shown) == 3
        assert cut.shown.lengths.tolist() == [sum(row == person for row, _ in shown) for person in range(3)]
        values = {(0, 1): 4, (0, 4): 5, (2, 0): 1, (2, 2): 2, (2, 3): 3}
        assert cut.values.tolist() == [values[pair] for pair in asked]
        shown_once |= set(shown)
        asked_once |= set(asked)
    assert len(shown_once) == len(asked_once) == 5


def test_bags_of_sorted_pairs() -> None:
    found = bags(torch.tensor([0, 0, 2]), torch.tensor([4, 1, 3]), 4)
    assert found.offsets.tolist() == [0, 2, 2, 3, 3]


def test_log_loss_by_hand() -> None:
    loss = log_loss(torch.tensor([0.0, math.log(3)]), torch.tensor([[0.0, math.log(3), -math.log(3)]] * 2))
    wanted = -(math.log(0.5) + math.log(0.75) + 2 * (math.log(0.5) + math.log(0.25) + math.log(0.75))) / 8
    assert loss.item() == pytest.approx(wanted)
    assert log_loss(torch.zeros(0), torch.zeros(0, 3)).item() == 0


def cut() -> Holdout:
    return Holdout(
        shown=bags(torch.tensor([0]), torch.tensor([5]), 2),
        rows=torch.tensor([0, 1, 1]),
        items=torch.tensor([2, 2, 7]),
        values=torch.ones(3),
    )


def test_candidates_are_what_was_sampled_or_asked_for() -> None:
    found = Candidates.of(cut(), torch.tensor([5, 9, 5, 2]))
    assert found.items.tolist() == [2, 5, 7, 9]
    assert found.times.tolist() == [1, 2, 0, 1]


def test_sampled_loss_counts_draws_over_expected_and_leaves_out_what_was_taken() -> None:
    found = Candidates.of(cut(), torch.tensor([5, 9, 5, 2]))
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 0.25, -2.0]])
    expected = torch.tensor([0.5, 0.25, 8.0, 0.1])
    loss = found.loss(logits, cut(), expected.log())
    first = math.exp(4) / 0.1
    second = 2 * math.exp(-1) / 0.25 + math.exp(-2) / 0.1
    wanted = [math.log1p(rest / math.exp(own)) for rest, own in ((first, 1.0), (second, 0.5), (second, 0.25))]
    assert loss.item() == pytest.approx(sum(wanted) / 3, rel=1e-5)


def test_sampled_loss_of_nothing_to_predict_has_a_gradient_of_zero() -> None:
    empty = Holdout(
        shown=bags(torch.tensor([0]), torch.tensor([1]), 1),
        rows=torch.zeros(0, dtype=torch.int64),
        items=torch.zeros(0, dtype=torch.int64),
        values=torch.zeros(0),
    )
    logits = torch.zeros(1, 1, requires_grad=True)
    loss = Candidates.of(empty, torch.tensor([1])).loss(logits, empty, torch.zeros(1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0]]
