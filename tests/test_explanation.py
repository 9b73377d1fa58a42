"""What items of a history add to scores: by hand, and leave-one-out against the terms of models that have them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.explanation import explain, left_out
from recloop.models import Model, find
from recloop.models.base import FitContext, ModelConfig
from tests.support.planted import N_ITEMS, contexts, data, planted

LINEAR = ("ease", "slim", "item_knn", "rp3beta", "gfcf")
CPU = torch.device("cpu")


def fitted(name: str, **parameters: Any) -> Model:
    kind = find(name)
    model = kind(kind.Config.model_validate(parameters), N_ITEMS)
    model.fit(data(planted()), FitContext(device=CPU, seed=3))
    return model


class Lengths(Model):
    """Score of item i = i times the number of events, plus 1; the histories that were asked for are kept."""

    def __init__(self, n_items: int) -> None:
        super().__init__(ModelConfig(), n_items)
        self.asked: list[Contexts] = []

    @override
    def fit(self, data: Any, context: FitContext) -> None:
        raise AssertionError("nobody asks for this")

    @override
    def score(self, contexts: Contexts) -> Tensor:
        self.asked.append(contexts)
        return torch.from_numpy(contexts.lengths)[:, None] * torch.arange(float(self.n_items)) + 1

    @override
    def tensors(self) -> dict[str, Tensor]:
        raise AssertionError("nobody asks for this")

    @override
    def load_tensors(self, tensors: Any) -> None:
        raise AssertionError("nobody asks for this")


def test_an_item_is_left_out_with_all_its_events():
    model = Lengths(7)
    found = explain(model, Contexts.from_lists([[5, 3, 5, 1]]), [2, 6])
    assert found.history.tolist() == [1, 5, 3], "that of the newest event first"
    assert found.places.tolist() == [3, 2, 1]
    assert found.contributions.tolist() == [[2, 6], [4, 12], [2, 6]]
    assert found.scores.tolist() == [9, 25]
    assert found.base.tolist() == [1, 1]
    assert (found.method, found.sums.tolist()) == ("leave_one_out", [True, True])
    (asked,) = model.asked
    assert [asked.items[a:b].tolist() for a, b in zip(asked.offsets, asked.offsets[1:], strict=False)] == [
        [5, 3, 5, 1],
        [],
        [5, 3, 5],
        [3, 1],
        [5, 5, 1],
    ]


def test_what_is_left_out_takes_its_time_and_value_along_and_the_person_stays():
    context = contexts([[2, 0, 9]])
    found = left_out(context, np.array([0]))
    assert found.timestamps.tolist() == [0, 1, 2, 0, 2]
    assert found.values.tolist() == context.values[[0, 1, 2, 0, 2]].tolist()
    assert found.features is not None
    assert context.features is not None
    assert len(found.features) == len(found) == 3


def test_only_the_newest_items_are_left_out_and_few_histories_are_scored_at_once():
    model = Lengths(400)
    found = explain(model, Contexts.from_lists([list(range(300))]), [1])
    assert found.history.tolist() == list(range(299, 99, -1))
    assert [len(asked) for asked in model.asked] == [64, 64, 64, 10]
    assert not found.sums.any(), "what the older items add is not known"


@pytest.mark.parametrize("name", LINEAR)
def test_leaving_out_finds_the_terms_of_linear_models(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, context = fitted(name), contexts([[0, 9, 1, 17, 9, 2, 0]])
    wanted = [3, 10, 0, 18, 4]
    exact = explain(model, context, wanted)
    assert exact.method == "exact"
    assert np.count_nonzero(exact.contributions) >= 5
    monkeypatch.setattr(type(model), "contributions", Model.contributions)
    found = explain(model, context, wanted)
    assert found.method == "leave_one_out"
    assert found.history.tolist() == exact.history.tolist()
    np.testing.assert_allclose(found.contributions, exact.contributions, rtol=1e-4, atol=1e-6)


def test_ease_adds_its_weights():
    model = fitted("ease")
    weights = model.tensors()["weights"]
    found = explain(model, contexts([[4, 11, 4]]), [6, 11])
    assert found.history.tolist() == [4, 11]
    assert found.contributions.tolist() == weights[[4, 11]][:, [6, 11]].tolist()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ease", {"half_life_days": 1e-11}),
        ("als", {"factors": 5}),
        ("als", {"factors": 5, "weighted": True, "regularization_scale": 0.5, "unobserved_weight": 0.3, "alpha": 2.0}),
        ("user_knn", {"neighbors": 7}),
        ("user_knn", {"neighbors": 7, "similarity": "pearson", "weighting": "bm25"}),
        ("item_knn", {"whose": "candidate"}),
    ],
)
def test_terms_add_up_to_the_score_whatever_the_parameters(name: str, parameters: dict[str, Any]):
    model = fitted(name, **parameters)
    for history in ([4, 12], [0, 9, 1, 17, 9, 2, 0], list(range(24))):
        found = explain(model, contexts([history]), range(N_ITEMS))
        assert found.method == "exact"
        np.testing.assert_allclose(found.contributions.sum(axis=0), found.scores, rtol=1e-4, atol=1e-5)
        assert found.sums.all()
        assert np.count_nonzero(found.contributions) > 0


def test_als_adds_the_terms_of_the_paper():
    """Section 5 of Hu et al.: the score is ``sum_j s_ij c_j`` with ``s_ij = y_i . inv(Y'CY + l) y_j``."""
    model = fitted("als", factors=3, regularization=2.0, alpha=1.5)
    items = model.tensors()["items"].double()
    confidence = torch.ones(N_ITEMS, dtype=torch.float64)
    confidence[[4, 11]] += 1.5
    inverse = torch.linalg.inv(items.T @ (confidence[:, None] * items) + 2.0 * torch.eye(3))
    expected = [[float(2.5 * items[i] @ inverse @ items[j]) for i in (6, 0)] for j in (11, 4)]
    found = explain(model, contexts([[4, 11]]), [6, 0])
    np.testing.assert_allclose(found.contributions, expected, rtol=1e-5)


def test_neighbours_of_nobody_leave_the_score_to_popularity():
    """A history that is like nobody's gets everybody's answer, which none of its items adds to."""
    kind = find("user_knn")
    model = kind(kind.Config.model_validate({"neighbors": 2}), 4)
    histories: Sequence[Sequence[int]] = [[0, 1], [1, 0]]
    model.fit(data(histories, 4), FitContext(device=CPU))
    found = explain(model, contexts([[3, 2]]), [0, 3])
    assert found.method == "leave_one_out"
    assert not found.contributions.any()
    assert found.base.tolist() == found.scores.tolist() == [2, 0]
