"""What all rankers over candidates do alike; what each makes of a pair, its own tests say."""

import math

import numpy as np
import pytest
import torch

from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError
from recloop.models.base import FitContext
from recloop.models.dcn import DCN
from recloop.models.deepfm import DeepFM
from recloop.models.reranker import Reranker, _evidence
from recloop.nn.histories import BagStore
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


def test_an_untrained_network_leaves_candidates_in_the_order_of_their_finder(model: Reranker) -> None:
    new = type(model)(model.config, N_ITEMS)
    new.begin(data(planted()), CONTEXT)
    found = new._generator.score(ASKED).argsort(dim=1, descending=True, stable=True)
    ranked = new.score(ASKED)
    for row, count in enumerate([8, 5, 7]):
        unseen = [item for item in found[row, :count].tolist() if item not in ASKED.take(np.array([row])).items]
        assert ranked[row, unseen[:4]].diff().lt(0).all()


def test_what_finds_candidates_for_training_has_not_learned_from_those_people(model: Reranker) -> None:
    """A fold's own events change nothing in the scores that its people get while training."""
    histories = planted()
    fold = model._fold
    assert np.bincount(fold).tolist() == [60, 60]
    changed = [[0, 8] if one == 0 else history for one, history in zip(fold, histories, strict=True)]
    other = type(model)(model.config, N_ITEMS)
    other.begin(data(changed), CONTEXT)
    asked = Contexts.from_lists([histories[person][:2] for person in np.flatnonzero(fold == 0)[:3]])
    mine = np.zeros(3, dtype=np.int64)
    assert torch.equal(model._found_by_others(asked, mine), other._found_by_others(asked, mine))
    assert not torch.equal(model._found_by_others(asked, mine + 1), other._found_by_others(asked, mine + 1))


def test_recent_events_are_the_mean_of_their_vectors(model: Reranker) -> None:
    network, recent = model.network, model.config.recent
    asked = Contexts.from_lists([[9, *range(recent)], [], [3]])
    bags = BagStore(asked.matrix(N_ITEMS)).all(torch.device("cpu"))
    with torch.no_grad():
        fields = model._people(asked, bags, model._rows(None, 3))
        torch.testing.assert_close(fields[:, :2], network.fields.people(bags, model._rows(None, 3)))
        torch.testing.assert_close(fields[0, 2], network.recent.weight[:recent].mean(dim=0))
        assert not fields[1, 2].any()
        torch.testing.assert_close(fields[2, 2], network.recent.weight[3])


def test_evidence_begins_with_places_and_has_no_scale() -> None:
    places = torch.tensor([[0, 1, 3]])
    numbers = _evidence(torch.tensor([[1.5, 0.0, -2.0]], dtype=torch.float64), places)
    assert numbers.dtype == torch.float32
    torch.testing.assert_close(numbers[0], torch.tensor([[1.5, 0], [0, -math.log(2)], [-2, -math.log(4)]]))


def test_what_finds_candidates_is_stored_with_the_model(model: Reranker) -> None:
    names = {name for name in model.tensors() if name.startswith("candidates.")}
    assert names == {f"candidates.{name}" for name in ("offsets", "neighbors", "similarities", "popularity")}


@pytest.mark.parametrize("kind", RERANKERS)
def test_another_finder_must_be_one_of_four(kind: type[Reranker]) -> None:
    with pytest.raises(ConfigError, match="input should be 'ease', 'als', 'item_knn' or 'popularity'"):
        parse(kind.Config, {"candidates": "sasrec"}, f"train.{kind.name()}")
