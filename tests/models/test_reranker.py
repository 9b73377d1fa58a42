"""What all rankers over candidates do alike; what each makes of a pair, its own tests say."""

import numpy as np
import pytest
import torch

from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError
from recloop.models.base import FitContext
from recloop.models.dcn import DCN
from recloop.models.deepfm import DeepFM
from recloop.models.reranker import Reranker
from tests.support.planted import N_ITEMS, data, planted, quick

RERANKERS = (DCN, DeepFM)
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
ASKED = Contexts.from_lists([[0, 1, 2], [], [9, 17]])


@pytest.fixture(scope="module", params=RERANKERS)
def model(request: pytest.FixtureRequest) -> Reranker:
    kind = request.param
    parameters = quick(kind.name()) | {"candidates": "item_knn", "n_candidates": 5, "epochs": 1}
    made = kind(kind.Config.model_validate(parameters), N_ITEMS)
    made.fit(data(planted()), CONTEXT)
    return made


def test_candidates_come_first_and_the_others_in_the_order_of_their_finder(model: Reranker) -> None:
    found = model._generator.score(ASKED).argsort(dim=1, descending=True, stable=True)
    ranked = model.score(ASKED)
    for row, count in enumerate([8, 5, 7]):
        order = ranked[row].argsort(descending=True)
        assert set(order[:count].tolist()) == set(found[row, :count].tolist())
        assert order[count:].tolist() == found[row, count:].tolist()
        np.testing.assert_allclose(ranked[row, order[count - 1 :]].diff(), -1, atol=1e-5)


def test_candidates_of_training_people_are_none_that_they_took(model: Reranker) -> None:
    histories = planted()
    items, numbers = model._shortlists
    assert items.shape == (len(histories), 5)
    assert numbers.tolist() == [5] * len(histories)
    assert not any(set(history) & set(row) for history, row in zip(histories, items.tolist(), strict=True))


def test_half_of_the_negatives_are_candidates_and_none_was_taken(model: Reranker) -> None:
    histories = planted()
    people = torch.arange(len(histories))
    drawn = model._negatives(people, torch.Generator().manual_seed(0))
    assert drawn.shape == (len(histories), 4)
    items, _ = model._shortlists
    assert (drawn[:, :2, None] == items[:, None, :]).any(dim=2).all()
    assert not any(set(history) & set(row) for history, row in zip(histories, drawn.tolist(), strict=True))


def test_what_finds_candidates_is_stored_with_the_model(model: Reranker) -> None:
    names = {name for name in model.tensors() if name.startswith("candidates.")}
    assert names == {f"candidates.{name}" for name in ("offsets", "neighbors", "similarities", "popularity")}


@pytest.mark.parametrize("kind", RERANKERS)
def test_another_finder_must_be_one_of_four(kind: type[Reranker]) -> None:
    with pytest.raises(ConfigError, match="input should be 'ease', 'als', 'item_knn' or 'popularity'"):
        parse(kind.Config, {"candidates": "sasrec"}, f"train.{kind.name()}")
