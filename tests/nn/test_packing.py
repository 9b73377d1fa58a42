import numpy as np
import pytest
import torch

from recloop.nn.packing import Packing

CPU = torch.device("cpu")


def packing(*sizes: int) -> Packing:
    return Packing(np.array(sizes, dtype=np.int64), CPU)


def test_where_events_lie_by_hand() -> None:
    packed = packing(2, 1, 3)
    assert len(packed) == 3
    assert packed.length == 3
    assert packed.ages.tolist() == [1, 0, 0, 2, 1, 0]
    assert packed.newest.tolist() == [1, 2, 5]
    assert packed.present.tolist() == [[True, True, False], [True, False, False], [True, True, True]]


def test_rows_begin_together_and_give_the_events_back() -> None:
    packed = packing(2, 1, 3)
    states = torch.arange(1.0, 13.0).view(6, 2)
    rows = packed.rows(states)
    assert rows[:, :, 0].tolist() == [[1, 3, 0], [5, 0, 0], [7, 9, 11]]
    assert torch.equal(packed.events(rows), states)


@pytest.mark.parametrize("sizes", [(2, 1, 3), (2, 2)])
def test_gradients_are_those_of_moving(sizes: tuple[int, ...]) -> None:
    packed = packing(*sizes)
    states = torch.randn(sum(sizes), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(packed.rows, states)
    rows = torch.randn(len(sizes), max(sizes), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(packed.events, rows)


def test_sequences_of_equal_length_are_not_copied() -> None:
    states = torch.randn(6, 2)
    assert packing(3, 3).rows(states).data_ptr() == states.data_ptr()


def test_sorted_sequences_come_in_parts_of_similar_length() -> None:
    packed = packing(1, 2, 2, 5, 8, 8)
    assert [part.length for part in packed.parts] == [2, 5, 8]
    assert [len(part) for part in packed.parts] == [3, 1, 2]
    assert packed.events_each == [5, 5, 16]


def test_others_stay_one_part() -> None:
    assert packing(8, 1, 8).events_each == [17]
    assert packing(7, 7, 8).events_each == [22]
    assert packing().events_each == [0]
    assert packing().rows(torch.ones(0, 2)).shape == (0, 1, 2)
