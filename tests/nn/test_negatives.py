import pytest
import torch

from recloop.nn.negatives import Unseen, uniform

TAKEN = [(0, 1), (0, 3), (2, 0), (2, 4), (2, 0)]


@pytest.fixture(params=[1000, 0], ids=["table", "bisection"])
def unseen(request: pytest.FixtureRequest) -> Unseen:
    rows, items = torch.tensor(TAKEN).T
    return Unseen(rows, items, 5, torch.device("cpu"), table=request.param)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_draws_are_in_range_cover_all_items_and_follow_the_generator() -> None:
    first = uniform(5, 1000, torch.Generator().manual_seed(1))
    assert first.shape == (1000,)
    assert first.dtype == torch.int64
    assert first.unique().tolist() == [0, 1, 2, 3, 4]
    assert first.bincount().min() > 150
    assert torch.equal(first, uniform(5, 1000, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, uniform(5, 1000, torch.Generator().manual_seed(2)))


def test_what_was_taken_is_known_for_every_pair(unseen: Unseen) -> None:
    rows = torch.arange(4)[:, None]
    assert unseen.taken(rows, torch.arange(5)).nonzero().tolist() == [[0, 1], [0, 3], [2, 0], [2, 4]]
    assert unseen.taken(torch.tensor([0, 2]), torch.tensor([3, 3])).tolist() == [True, False]


def test_drawn_items_are_unseen_and_all_unseen_items_are_drawn(unseen: Unseen) -> None:
    drawn = unseen.draw(torch.tensor([2, 0, 1]), 300, generator(), tries=50)
    assert drawn.shape == (3, 300)
    assert drawn.dtype == torch.int64
    assert [row.unique().tolist() for row in drawn] == [[1, 2, 3], [0, 2, 4], [0, 1, 2, 3, 4]]
    assert drawn[0].bincount(minlength=5)[1:4].min() > 70


def test_draws_follow_the_generator(unseen: Unseen) -> None:
    rows = torch.tensor([0, 2])
    assert torch.equal(unseen.draw(rows, 50, generator()), unseen.draw(rows, 50, generator()))
    assert not torch.equal(unseen.draw(rows, 50, generator()), unseen.draw(rows, 50, generator(2)))


def test_who_took_everything_gets_something_all_the_same() -> None:
    everything = Unseen(torch.zeros(3, dtype=torch.int64), torch.arange(3), 3, torch.device("cpu"))
    drawn = everything.draw(torch.tensor([0]), 20, generator())
    assert drawn.min() >= 0
    assert drawn.max() < 3


def test_a_draw_is_repeated_no_more_often_than_said(unseen: Unseen) -> None:
    drawn = unseen.draw(torch.tensor([0]), 200, generator(), tries=0)
    assert torch.equal(drawn[0], torch.randint(5, (1, 200), generator=generator())[0])
    once = unseen.draw(torch.tensor([0]), 200, generator(), tries=1)
    assert 0 < int(unseen.taken(torch.tensor([[0]]), once).sum()) < int(unseen.taken(torch.tensor([[0]]), drawn).sum())


def test_where_nothing_was_taken_everything_may_be_drawn() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    free = Unseen(nothing, nothing, 4, torch.device("cpu"))
    assert free.taken(torch.tensor([[0], [1]]), torch.arange(4)).any().item() is False
    assert free.draw(torch.tensor([1]), 100, generator()).unique().tolist() == [0, 1, 2, 3]
