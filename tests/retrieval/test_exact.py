"""Exact ranking: agreement with a full sort, ties, masks and streaming."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from recloop.data.ranks import UNRANKED
from recloop.data.sequences import Contexts, Examples
from recloop.errors import ModelError
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData
from recloop.retrieval import exact
from recloop.retrieval.exact import Candidates, rank, rank_examples, select, top_k


class Table(Model):
    """Scores that are the same for everybody, except that a history adds 0.5 to its last item's successor."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__(ModelConfig(), len(scores))
        self.table = torch.tensor(scores)
        self.batches: list[int] = []

    def fit(self, data: TrainingData, context: FitContext) -> None:
        raise AssertionError

    def score(self, contexts: Contexts) -> Tensor:
        self.batches.append(len(contexts))
        scores = self.table.repeat(len(contexts), 1)
        for row, length in enumerate(contexts.lengths):
            if length:
                scores[row, (contexts.items[contexts.offsets[row + 1] - 1] + 1) % self.n_items] += 0.5
        return scores

    def tensors(self) -> dict[str, Tensor]:
        return {"table": self.table}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.table = tensors["table"]


def examples(histories: list[list[int]], users: list[int], stops: list[int], targets: list[list[int]]) -> Examples:
    flat = [target for one in targets for target in one]
    return Examples(
        histories=Contexts.from_lists(histories),
        users=np.array(users),
        stops=np.array(stops),
        offsets=np.cumsum([0, *map(len, targets)]),
        targets=np.array(flat, dtype=np.int64),
        values=np.ones(len(flat), dtype=np.float32),
    )


# few different values, so that ties abound; some masked
tied_scores = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 3.0]),
)


@settings(deadline=None)
@given(tied_scores, st.integers(0, 12))
def test_top_k_agrees_with_a_full_sort(scores: np.ndarray, k: int) -> None:
    best = select(torch.from_numpy(scores), k)
    order = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), scores.shape), -scores), axis=1)[:, :k]
    values = np.take_along_axis(scores, order, axis=1)
    padding = ((0, 0), (0, k - order.shape[1]))
    expected = np.pad(np.where(np.isneginf(values), -1, order), padding, constant_values=-1)
    assert best.items.tolist() == expected.tolist()
    assert best.scores.tolist() == np.pad(values, padding, constant_values=-np.inf).tolist()
    assert (best.items.dtype, best.scores.dtype) == (np.int64, np.float32)


def test_equal_scores_are_ordered_by_index() -> None:
    best = select(torch.tensor([[1.0, 2.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]]), 3)
    assert best.items.tolist() == [[1, 4, 0], [0, 1, 2]]


def test_one_person_gets_lists_without_padding() -> None:
    scores = torch.tensor([0.5, 4.0, 3.0, 4.0])
    assert top_k(scores, 2) == ([1, 3], [4.0, 4.0])
    assert top_k(scores, 9, seen=[3, 1, 3]) == ([2, 0], [3.0, 0.5])
    assert top_k(scores, 2, seen=[0, 1, 2, 3]) == ([], [])
    assert scores.tolist() == [0.5, 4.0, 3.0, 4.0]


def test_a_batch_leaves_out_the_seen_and_the_excluded() -> None:
    model = Table([5.0, 4.0, 3.0, 2.0])
    contexts = Contexts.from_lists([[0, 0], [], [2, 1]])
    assert rank(model, contexts, 2).items.tolist() == [[1, 2], [0, 1], [0, 3]]
    assert rank(model, contexts, 2, mask_seen=False).items.tolist() == [[0, 1], [0, 1], [0, 1]]
    excluded = rank(model, contexts, 3, exclude=[[1], [], [3, 0]])
    assert excluded.items.tolist() == [[2, 3, -1], [0, 1, 2], [-1, -1, -1]]
    assert excluded.scores[0].tolist() == [3.0, 2.0, -np.inf]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 6), max_size=9), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=7, max_size=7),
    st.integers(1, 9),
)
def test_masks_never_recommend_the_seen(histories: list[list[int]], scores: list[float], k: int) -> None:
    best = rank(Table(scores), Contexts.from_lists(histories), k)
    for history, items in zip(histories, best.items, strict=True):
        shown = items[items >= 0].tolist()
        assert not set(shown) & set(history)
        assert len(shown) == min(k, 7 - len(set(history)))


def test_ranks_of_targets_by_hand() -> None:
    model = Table([1.0, 3.0, 2.0, 3.0, 0.0])
    asked = examples([[1], [0, 2, 4]], [0, 0, 1], [1, 0, 2], [[0, 3], [3], [-1, 2, 4]])
    (batch,) = rank_examples(model, asked, 2)
    # example 0: 1 is masked, 2 gets 2.5: order 3 2 0 4; example 1 has no context: order 1 3 2 0 4
    # example 2: 0 and 2 are masked, 3 gets 3.5: order 3 1 4
    assert batch.top.items.tolist() == [[3, 2], [1, 3], [3, 1]]
    assert batch.ranks.tolist() == [2, 0, 1, UNRANKED, UNRANKED, 2]
    assert batch.n_candidates.tolist() == [4, 5, 3]
    assert np.isnan(batch.target_scores[3])
    assert np.delete(batch.target_scores, 3).tolist() == [1.0, 3.0, 3.0, 2.0, 0.0]
    assert (batch.start, batch.stop) == (0, 3)


def test_without_masks_the_seen_can_be_found() -> None:
    asked = examples([[1]], [0], [1], [[1]])
    (batch,) = rank_examples(Table([1.0, 3.0, 2.0]), asked, 1, mask_seen=False)
    assert (batch.ranks.tolist(), batch.n_candidates.tolist()) == ([0], [3])


def test_candidates_are_the_only_items_ranked() -> None:
    asked = examples([[], []], [0, 1], [0, 0], [[2], [0, 1]])
    candidates = Candidates(offsets=np.array([0, 3, 5]), items=np.array([2, 0, 2, 1, 0]))
    (batch,) = rank_examples(Table([1.0, 3.0, 2.0, 9.0]), asked, 3, candidates=candidates)
    assert batch.top.items.tolist() == [[2, 0, -1], [1, 0, -1]]
    assert batch.ranks.tolist() == [0, 1, 0]
    assert batch.n_candidates.tolist() == [2, 2]


def test_candidates_are_cut_with_their_batch() -> None:
    asked = examples([[], []], [0, 1], [0, 0], [[2], [0]])
    candidates = Candidates(offsets=np.array([0, 1, 3]), items=np.array([2, 3, 0]))
    batches = list(rank_examples(Table([1.0, 3.0, 2.0, 9.0]), asked, 2, candidates=candidates, batch_size=1))
    assert [batch.top.items.tolist() for batch in batches] == [[[2, -1]], [[3, 0]]]
    assert [batch.ranks.tolist() for batch in batches] == [[0], [1]]


@settings(deadline=None)
@given(tied_scores, st.data())
def test_ranks_agree_with_the_full_sort(scores: np.ndarray, data: st.DataObject) -> None:
    finite = np.where(np.isneginf(scores[0]), 0, scores[0]).tolist()
    n_items = len(finite)
    history = data.draw(st.lists(st.integers(0, n_items - 1), max_size=4))
    targets = data.draw(st.lists(st.integers(0, n_items - 1), min_size=1, max_size=6, unique=True))
    model = Table(finite)
    (batch,) = rank_examples(model, examples([history], [0], [len(history)], [targets]), n_items)
    order = batch.top.items[0].tolist()
    assert batch.ranks.tolist() == [order.index(t) if t in order else UNRANKED for t in targets]
    assert batch.n_candidates.tolist() == [n_items - len(set(history))]


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_batches_do_not_change_the_answer(size: int) -> None:
    model = Table([1.0, 3.0, 2.0, 3.0, 0.0])
    asked = examples([[1], [0, 2, 4]], [0, 0, 1], [1, 0, 2], [[0, 3], [3], [-1, 2, 4]])
    (whole,) = rank_examples(model, asked, 4)
    parts = list(rank_examples(model, asked, 4, batch_size=size))
    assert [(part.start, part.stop) for part in parts] == [(n, min(n + size, 3)) for n in range(0, 3, size)]
    for name in ("ranks", "target_scores", "n_candidates"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    assert np.concatenate([part.top.items for part in parts]).tolist() == whole.top.items.tolist()


def test_the_batch_follows_from_the_memory_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = examples([[]], [0] * 7, [0] * 7, [[0]] * 7)
    model = Table([1.0, 2.0, 3.0])
    list(rank_examples(model, asked, 1))
    monkeypatch.setattr(exact, "MEMORY", 3 * 4 * 2)
    list(rank_examples(model, asked, 1))
    monkeypatch.setattr(exact, "MEMORY", 1)
    list(rank_examples(model, asked, 1))
    assert model.batches == [7] + [2, 2, 2, 1] + [1] * 7


def test_progress_is_shown_and_no_example_is_no_batch() -> None:
    shown: list[str] = []

    def progress(steps: Any, description: str) -> Any:
        shown.append(description)
        return steps

    assert list(rank_examples(Table([1.0]), examples([[]], [], [], []), 1, progress=progress)) == []
    assert shown == [f"rank {Table.name()}"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers_are_refused(wrong: float) -> None:
    asked = examples([[0], [1]], [0, 1], [1, 1], [[2], [0]])
    with pytest.raises(ModelError) as error:
        list(rank_examples(Table([1.0, wrong, 2.0]), asked, 1))
    assert str(error.value) == (
        "test_exact gives scores that are not finite numbers; train it with a lower learning rate or more "
        "regularization."
    )
