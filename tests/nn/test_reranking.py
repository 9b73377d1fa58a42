import math

import torch

from recloop.nn.reranking import Shortlist, best_unseen, choice_loss

SCORES = torch.tensor([[0.1, 0.9, 0.5, 0.5], [4.0, 1.0, 2.0, 3.0]])


def test_candidates_come_first_and_the_others_keep_their_order() -> None:
    shortlist = Shortlist.of(SCORES, torch.tensor([2, 1]))
    rows, items = shortlist.pairs()
    assert rows.tolist() == [0, 0, 1]
    assert items.tolist() == [1, 2, 0]
    scores = shortlist.scores(torch.tensor([-3.0, 2.0, 0.5]))
    assert scores.tolist() == [[-5.0, -3.0, 2.0, -4.0], [0.5, -2.5, -1.5, -0.5]]


def test_all_may_be_candidates_and_nobody_may_ask() -> None:
    logits = torch.arange(8.0)
    scores = Shortlist.of(SCORES, torch.tensor([4, 4])).scores(logits)
    assert scores.tolist() == [[3, 0, 1, 2], [4, 7, 6, 5]]
    none = Shortlist.of(torch.empty(0, 4), torch.empty(0, dtype=torch.int64))
    assert none.scores(torch.empty(0)).shape == (0, 4)


def test_what_was_seen_does_not_stand_before_a_candidate() -> None:
    shortlist = Shortlist.of(SCORES, torch.tensor([4, 2]))
    assert shortlist.order.tolist() == [[1, 2, 3, 0], [0, 3, 2, 1]]
    assert shortlist.before(torch.tensor([0, 1]), torch.tensor([2, 0])).tolist() == [0, 1, 1, 2, 0, 0]


def test_the_best_unseen_leave_out_what_was_seen() -> None:
    items, unseen = best_unseen(SCORES, torch.tensor([0, 1, 1, 1]), torch.tensor([1, 0, 1, 2]), 2)
    assert items[0].tolist() == [2, 3]
    assert items[1, 0].item() == 3
    assert unseen.tolist() == [[True, True], [True, False]]
    assert SCORES[0, 1] == torch.tensor(0.9)


def test_the_loss_of_a_choice_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(2), 9.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], requires_grad=True)
    allowed = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    right = torch.tensor([[True, False, False], [False, False, False], [True, False, False]])
    loss = choice_loss(logits, allowed, right)
    torch.testing.assert_close(loss, torch.tensor((math.log(3) + 0) / 2))
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-1 / 3, 1 / 3, 0], [0, 0, 0], [0, 0, 0]]))
    assert choice_loss(logits, allowed, torch.zeros_like(allowed)).item() == 0
