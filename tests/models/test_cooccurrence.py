import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models import cooccurrence
from recloop.models.base import FitContext, TrainingData
from recloop.models.cooccurrence import Cooccurrence, CooccurrenceConfig

QUICK = {"window": 8, "direction": "both", "shrink": 1}
CONTEXT = FitContext(device=torch.device("cpu"))
HISTORIES = Contexts.from_lists([[0, 1, 2, 1], [], [3, 0, 1], [2]])
SHARES = np.array([3, 4, 3, 2, 1]) / 13
"""Of items 0 to 4, which have 2, 3, 2, 1 and 0 events, each counted once more."""


def fitted(**parameters: object) -> Cooccurrence:
    model = Cooccurrence(CooccurrenceConfig.model_validate({"window": 2, "direction": "after"} | parameters), 5)
    model.fit(TrainingData(histories=HISTORIES, n_items=5), CONTEXT)
    return model


def counts(model: Cooccurrence) -> list[list[float]]:
    return model._together.toarray().tolist()


def test_pairs_are_counted_within_the_window_and_one_history() -> None:
    after = [[0, 2, 1, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0] * 5]
    assert counts(fitted()) == after
    assert counts(fitted(direction="both")) == (np.array(after) + np.array(after).T).tolist()
    assert counts(fitted(window=1)) == [[0, 2, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0] * 5]
    assert counts(fitted(window=100))[0] == [0, 3, 1, 0, 0]


def test_scores_are_smoothed_shares_after_the_last_item() -> None:
    scores = fitted(shrink=4).score(Contexts.from_lists([[3, 0], [4], []]))
    np.testing.assert_allclose(scores[0], (np.array([0, 2, 1, 0, 0]) + 4 * SHARES) / 7, rtol=1e-6)
    np.testing.assert_allclose(scores[1:], [SHARES, SHARES], rtol=1e-6)


def test_lift_divides_by_popularity() -> None:
    scores = fitted(shrink=4, lift=0.5).score(Contexts.from_lists([[0], []]))
    np.testing.assert_allclose(scores[0], (np.array([0, 2, 1, 0, 0]) + 4 * SHARES) / 7 / SHARES**0.5, rtol=1e-6)
    np.testing.assert_allclose(scores[1], SHARES, rtol=1e-6)


def test_only_the_most_frequent_neighbours_are_kept() -> None:
    assert counts(fitted(neighbors=1))[0] == [0, 2, 0, 0, 0]
    scores = fitted(neighbors=1, shrink=2).score(Contexts.from_lists([[0]]))
    np.testing.assert_allclose(scores[0], (np.array([0, 2, 0, 0, 0]) + 2 * SHARES) / 4, rtol=1e-6)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = counts(fitted(direction="both"))
    monkeypatch.setattr(cooccurrence, "BLOCK_ENTRIES", 9)
    assert counts(fitted(direction="both")) == whole


def test_events_without_order_are_refused() -> None:
    events = Contexts.from_lists([[0, 1]])
    events.timestamps[:] = 7
    with pytest.raises(ModelError, match="cooccurrence needs the order of events"):
        Cooccurrence(CooccurrenceConfig(), 2).fit(TrainingData(histories=events, n_items=2), CONTEXT)
