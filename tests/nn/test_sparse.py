import numpy as np
import torch
from scipy import sparse

from recloop.nn.sparse import Entries

MATRIX = sparse.csr_matrix(np.array([[0, 2.0, 0, 3], [0, 0, 0, 0], [5, 0, 0, 0]], dtype=np.float32))
LEFT = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
RIGHT = torch.tensor([[1.0, 0], [0, 1], [7, 7], [2, -1]])
CPU = torch.device("cpu")


def test_sums_over_the_columns_of_each_row() -> None:
    entries = Entries(MATRIX, CPU)
    assert len(entries) == 3
    assert entries.lengths.tolist() == [2, 0, 1]
    assert entries.sums(RIGHT).tolist() == [[2, 0], [0, 0], [1, 0]]
    assert entries.sums(RIGHT, entries.values).tolist() == [[6, -1], [0, 0], [5, 0]]


def test_inner_products_at_the_entries_alone() -> None:
    assert Entries(MATRIX, CPU).dots(LEFT, RIGHT).tolist() == [2, 0, 5]


def test_sums_of_each_row() -> None:
    assert Entries(MATRIX, CPU).row_sums(torch.tensor([2.0, 0.5, -1])).tolist() == [2.5, 0, -1]


def test_no_entries() -> None:
    entries = Entries(sparse.csr_matrix((3, 4), dtype=np.float32), CPU)
    assert entries.sums(RIGHT).tolist() == [[0, 0]] * 3
    assert entries.dots(LEFT, RIGHT).shape == (0,)
    assert entries.row_sums(torch.zeros(0)).tolist() == [0, 0, 0]
