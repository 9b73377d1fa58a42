import torch

from recloop.nn.histories import Bags
from recloop.nn.pairwise import PairNetwork, first_violations, untaken

BAGS = Bags(offsets=torch.tensor([0, 2, 3]), rows=torch.tensor([0, 0, 1]), items=torch.tensor([1, 3, 0]))


def network() -> PairNetwork:
    made = PairNetwork(4, 2, 1.0)
    with torch.no_grad():
        made.history.items.weight.copy_(torch.tensor([[1.0, 0], [0, 2], [5, 5], [4, 0]]))
        made.items.weight.copy_(torch.tensor([[1.0, 1], [2, 0], [0, 3], [1, -1]]))
        made.biases.weight.copy_(torch.tensor([[0.5], [0], [-1], [2]]))
    return made


def test_scores_are_products_and_biases() -> None:
    made = network()
    people = made.history(BAGS)
    assert people.tolist() == [[2, 1], [1, 0]]
    scores = made(people, torch.tensor([[0, 2, 3], [1, 1, 0]]))
    assert scores.tolist() == [[3.5, 2, 3], [2, 2, 1.5]]
    assert (made.people(BAGS) @ made.catalogue().T).tolist() == [[3.5, 4, 2, 3], [1.5, 2, -1, 3]]


def test_many_scores_are_those_without_a_gradient() -> None:
    made = network()
    people, items = torch.randn(9000, 2), torch.randint(4, (9000, 3))
    scores = made.many(people, items)
    assert not scores.requires_grad
    torch.testing.assert_close(scores, made(people, items))


def test_nothing_is_drawn_that_its_person_took() -> None:
    drawn = untaken(BAGS, 4, 500, torch.Generator().manual_seed(0), tries=30)
    assert drawn.shape == (3, 500)
    assert drawn[0].unique().tolist() == [0, 2]
    assert drawn[1].unique().tolist() == [0, 2]
    assert drawn[2].unique().tolist() == [1, 2, 3]


def test_who_took_everything_still_gets_something() -> None:
    bags = Bags(offsets=torch.tensor([0, 1]), rows=torch.tensor([0]), items=torch.tensor([0]))
    assert untaken(bags, 1, 2, torch.Generator().manual_seed(0)).tolist() == [[0, 0]]


def test_the_first_violation_of_each_row() -> None:
    found, tries = first_violations(torch.tensor([[False, True, True], [False, False, False], [True, False, True]]))
    assert found.tolist() == [True, False, True]
    assert tries[found].tolist() == [2, 1]
