import numpy as np
import pytest
import torch

from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError
from recloop.models.base import FitContext
from recloop.models.dcn import DCN, DCNConfig
from recloop.nn.histories import BagStore
from tests.support.planted import N_ITEMS, data, planted

QUICK = {"dim": 8, "n_candidates": 12, "learning_rate": 0.02, "batch_size": 16, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
ASKED = Contexts.from_lists([[0, 1, 2], [], [9, 17]])


@pytest.fixture(scope="module")
def model() -> DCN:
    made = DCN(DCNConfig.model_validate(QUICK | {"candidates": "item_knn", "n_candidates": 5, "epochs": 1}), N_ITEMS)
    made.fit(data(planted()), CONTEXT)
    return made


def test_the_logit_weighs_cross_layers_and_perceptron(model: DCN) -> None:
    network = model.network
    with torch.no_grad():
        people = network.fields.people(BagStore(ASKED.matrix(N_ITEMS)).all(torch.device("cpu")), model._rows(None, 3))
        start = torch.cat([people[0], network.fields.catalogue()[7]]).flatten()
        state = start
        for outer in network.cross.outer:
            state = start * (outer.weight @ state + outer.bias) + state
        wanted = network.out.weight[0] @ torch.cat([state, network.deep(start)]) + network.out.bias[0]
        torch.testing.assert_close(network(people[0], network.fields.catalogue()[7]), wanted)


def test_candidates_come_first_and_the_others_in_the_order_of_their_finder(model: DCN) -> None:
    found = model._generator.score(ASKED).argsort(dim=1, descending=True, stable=True)
    ranked = model.score(ASKED)
    for row, count in enumerate([8, 5, 7]):
        order = ranked[row].argsort(descending=True)
        assert set(order[:count].tolist()) == set(found[row, :count].tolist())
        assert order[count:].tolist() == found[row, count:].tolist()
        np.testing.assert_allclose(ranked[row, order[count - 1 :]].diff(), -1, atol=1e-5)


def test_candidates_of_training_people_are_none_that_they_took(model: DCN) -> None:
    histories = planted()
    items, numbers = model._shortlists
    assert items.shape == (len(histories), 5)
    assert numbers.tolist() == [5] * len(histories)
    assert not any(set(history) & set(row) for history, row in zip(histories, items.tolist(), strict=True))


def test_half_of_the_negatives_are_candidates_and_none_was_taken(model: DCN) -> None:
    histories = planted()
    people = torch.arange(len(histories))
    drawn = model._negatives(people, torch.Generator().manual_seed(0))
    assert drawn.shape == (len(histories), 4)
    items, _ = model._shortlists
    assert (drawn[:, :2, None] == items[:, None, :]).any(dim=2).all()
    assert not any(set(history) & set(row) for history, row in zip(histories, drawn.tolist(), strict=True))


def test_what_finds_candidates_is_stored_with_the_model(model: DCN) -> None:
    names = {name for name in model.tensors() if name.startswith("candidates.")}
    assert names == {f"candidates.{name}" for name in ("offsets", "neighbors", "similarities", "popularity")}


def test_another_finder_must_be_one_of_four() -> None:
    with pytest.raises(ConfigError, match="input should be 'ease', 'als', 'item_knn' or 'popularity'"):
        parse(DCNConfig, {"candidates": "sasrec"}, "train.dcn")
