import numpy as np
import pytest
from scipy import sparse

from recloop.nn.neighbours import Pairs, means, nearest, norms, pack, rarity, saturated, terms, unpack

OFFSETS, ITEMS = np.array([0, 4, 4, 6]), np.array([2, 0, 2, 2, 1, 0])
VALUES = np.array([1, 5, 2, 6, 4, 0], dtype=np.float32)


def test_pairs_count_events_and_average_values() -> None:
    pairs = Pairs.of(OFFSETS, ITEMS, VALUES, 4)
    assert pairs.matrix.toarray().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    assert pairs.counts.tolist() == [1, 3, 1, 1]
    assert pairs.ratings.tolist() == [5, 3, 0, 4]
    assert pairs.rows.tolist() == [0, 0, 2, 2]
    assert pairs.lengths.tolist() == [2, 0, 2]
    assert ITEMS.tolist() == [2, 0, 2, 2, 1, 0]
    assert VALUES.tolist() == [1, 5, 2, 6, 4, 0]


def test_rare_terms_weigh_more_and_absent_ones_as_one() -> None:
    np.testing.assert_allclose(rarity(np.array([0, 1, 4]), 8), np.log([9, 9, 3]), rtol=1e-6)


def test_saturation_by_hand() -> None:
    found = saturated(np.array([1.0, 3.0, 1.0]), np.array([4, 4, 8]), 4.0)
    np.testing.assert_allclose(found, [1, 6.6 / 4.2, 2.2 / (1 + 1.2 * 1.75)], rtol=1e-6)


def test_means_of_empty_groups_are_those_of_all() -> None:
    assert means(np.array([1, 3, 8], dtype=np.float32), np.array([0, 0, 2]), 4).tolist() == [2, 4, 8, 4]
    assert means(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64), 2).tolist() == [0, 0]


def test_norms_of_rows_and_columns() -> None:
    matrix = sparse.csr_matrix(np.array([[3, 0, 4], [0, 0, -2]], dtype=np.float32))
    assert norms(matrix, axis=1).tolist() == [5, 2]
    assert norms(matrix, axis=0).tolist() == pytest.approx([3, 0, 20**0.5])


def test_the_largest_positive_entries_are_kept_across_blocks() -> None:
    rows = sparse.csr_matrix(np.array([[1.0, 3, 2, 0], [0, 0, 0, 0], [-1, 5, -2, 0]], dtype=np.float32))
    kept = nearest([rows[:2], rows[2:]], 2, 4)
    assert kept.toarray().tolist() == [[0, 3, 2, 0], [0, 0, 0, 0], [0, 5, 0, 0]]
    assert kept.indices.tolist() == [1, 2, 1]
    assert nearest([rows], 9, 4).nnz == 4
    assert nearest([], 2, 4).shape == (0, 4)
    assert nearest([rows], 0, 4).nnz == 0
    assert nearest([sparse.csr_matrix((3, 4), dtype=np.float32)], 2, 4).shape == (3, 4)


@pytest.mark.parametrize("kept", [1, 3, 40, 300])
def test_rows_of_all_lengths_keep_what_sorting_keeps(kept: int) -> None:
    random = np.random.default_rng(0)
    dense = random.normal(size=(60, 200)).astype(np.float32)
    dense[random.random(dense.shape) > np.linspace(0, 1, 60)[:, None]] = 0
    found = nearest([sparse.csr_matrix(dense[:17]), sparse.csr_matrix(dense[17:])], kept, 200)
    floor = np.sort(np.maximum(dense, 0), axis=1)[:, -min(kept, 200), None]
    np.testing.assert_array_equal(found.toarray(), np.where((dense > 0) & (dense >= floor), dense, 0))
    for row in range(60):
        values = found.data[found.indptr[row] : found.indptr[row + 1]]
        assert (np.diff(values) < 0).all()


def test_of_equals_the_lower_column_is_kept() -> None:
    block = sparse.csr_matrix((np.array([2, 7, 2, 2], dtype=np.float32), [3, 1, 0, 2], [0, 4]), shape=(1, 4))
    found = nearest([block], 3, 4)
    assert (found.indices.tolist(), found.data.tolist()) == ([1, 0, 2], [7, 2, 2])


def test_packed_matrices_come_back() -> None:
    matrix = sparse.csr_matrix(np.array([[1.0, 0, 2], [0, 4, 0]], dtype=np.float32))
    tensors = pack(matrix, "likeness")
    assert list(tensors) == ["offsets", "neighbors", "likeness"]
    again = unpack(tensors["offsets"], tensors["neighbors"], tensors["likeness"], 3)
    assert again.toarray().tolist() == [[1, 0, 2], [0, 4, 0]]


def test_terms_of_a_sum_are_one_row_an_item_of_the_history() -> None:
    weights = sparse.csr_matrix(np.array([[1, 0, 2, 3], [4, 5, 0, 6], [0, 7, 8, 9]], dtype=np.float32))
    history = sparse.csr_matrix(np.array([[0.5, 0, 2]], dtype=np.float32))
    assert terms(history, weights, [3, 1, 3]).tolist() == [[1.5, 0, 1.5], [18, 14, 18]]
