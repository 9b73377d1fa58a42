import math

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.nn.hiding import HiddenEvents, Questions, completion_loss
from recloop.nn.histories import Bags

CPU = torch.device("cpu")
HISTORIES = [[0, 1, 2, 3], [], [4], [1, 3, 5]]
MATRIX = Contexts.from_lists(HISTORIES).matrix(6)


def test_each_event_is_either_visible_or_asked_for() -> None:
    events = HiddenEvents(MATRIX, CPU)
    generator = torch.Generator().manual_seed(2)
    visible = events.draw(0.5, generator)
    questions = events.batch(np.array([3, 0, 1]), 6, generator)
    assert 0 < len(questions.targets) < 7
    for row, person in enumerate([3, 0, 1]):
        shown = questions.visible.items[questions.visible.rows == row].tolist()
        asked = questions.targets[questions.rows == row].tolist()
        assert sorted(shown + asked) == HISTORIES[person]
        assert visible[person].indices.tolist() == shown
    assert questions.candidates.tolist() == [0, 1, 2, 3, 4, 5]
    assert questions.correction == 0
    assert questions.taken.int().tolist() == [[0, 1, 0, 1, 0, 1], [1, 1, 1, 1, 0, 0], [0] * 6]


def test_every_draw_hides_about_that_share_and_another_part() -> None:
    many = Contexts.from_lists([list(range(1000))]).matrix(1000)
    events = HiddenEvents(many, CPU)
    generator = torch.Generator().manual_seed(0)
    first, second = (events.draw(0.3, generator).indices for _ in range(2))
    assert len(first) == pytest.approx(700, abs=60)
    assert set(first) != set(second)


def test_of_a_large_catalogue_some_are_drawn_and_stand_for_all() -> None:
    events = HiddenEvents(MATRIX, CPU)
    generator = torch.Generator().manual_seed(2)
    events.draw(0.5, generator)
    questions = events.batch(np.array([0, 3]), 4, generator)
    assert questions.candidates.shape == (4,)
    assert questions.correction == pytest.approx(math.log(6 / 4))
    for row, person in enumerate([0, 3]):
        wanted = [item in HISTORIES[person] for item in questions.candidates.tolist()]
        assert questions.taken[row].tolist() == wanted
    unseen = events.unseen(np.array([0, 3, 0]), 5, generator)
    assert unseen.shape == (3, 5)
    assert not {*unseen[0].tolist(), *unseen[2].tolist()} & {0, 1, 2, 3}
    assert not set(unseen[1].tolist()) & {1, 3, 5}


def asked(rows: list[int], targets: list[int], taken: list[list[bool]], correction: float) -> Questions:
    nothing = torch.zeros(0, dtype=torch.int64)
    return Questions(
        visible=Bags(offsets=torch.zeros(3, dtype=torch.int64), rows=nothing, items=nothing),
        rows=torch.tensor(rows, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        candidates=torch.arange(3),
        taken=torch.tensor(taken),
        correction=correction,
    )


def test_the_loss_compares_a_target_with_what_the_person_has_not_taken() -> None:
    scores = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    questions = asked([1, 0, 1], [0, 2, 1], [[False, False, True], [True, True, False]], 0.5)
    positives = torch.tensor([4.0, 3, 5])
    first = math.log(math.exp(4) + math.exp(6.5)) - 4
    second = math.log(math.exp(3) + math.exp(1.5) + math.exp(2.5)) - 3
    third = math.log(math.exp(5) + math.exp(6.5)) - 5
    assert completion_loss(scores, positives, questions).item() == pytest.approx((first + second + third) / 3)


def test_nothing_hidden_and_nothing_left_to_compare_with_give_no_loss() -> None:
    scores = torch.ones(2, 3, requires_grad=True)
    everything = [[True] * 3, [True] * 3]
    assert completion_loss(scores, torch.ones(1), asked([0], [1], everything, 0)).item() == 0
    loss = completion_loss(scores, scores[:0, 0], asked([], [], everything, 0))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()
