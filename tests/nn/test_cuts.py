from dataclasses import replace

import numpy as np
import torch

from recloop.data.sequences import Contexts
from recloop.data.vocabulary import UNKNOWN
from recloop.nn.cuts import cut

HISTORIES = Contexts.from_lists([[4, 1, 3], [], [2]])


def test_what_came_before_is_shown_and_the_next_event_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    found = set()
    for _ in range(30):
        cuts = cut(HISTORIES, generator)
        length = cuts.shown.lengths[0]
        assert cuts.shown.offsets.tolist() == [0, length, length, length]
        assert cuts.shown.items.tolist() == [4, 1, 3][:length]
        assert cuts.shown.timestamps.tolist() == [0, 1, 2][:length]
        assert cuts.shown.values.tolist() == [1] * length
        assert cuts.items.tolist() == [[4, 1, 3][length], UNKNOWN, 2]
        found.add(int(length))
    assert found == {0, 1, 2}


def test_events_of_one_time_come_in_any_order_and_keep_their_columns() -> None:
    tied = replace(HISTORIES, timestamps=np.array([5, 5, 9, 0]), values=np.array([4, 1, 3, 2], dtype=np.float32))
    generator = torch.Generator().manual_seed(0)
    orders = set()
    for _ in range(60):
        cuts = cut(tied, generator)
        np.testing.assert_array_equal(cuts.shown.values, cuts.shown.items)
        orders.add((*cuts.shown.items.tolist(), int(cuts.items[0])))
    assert orders == {(4,), (1,), (4, 1), (1, 4), (4, 1, 3), (1, 4, 3)}


def test_nobody_may_be_cut() -> None:
    cuts = cut(Contexts.from_lists([]), torch.Generator())
    assert len(cuts.shown) == len(cuts.items) == 0
