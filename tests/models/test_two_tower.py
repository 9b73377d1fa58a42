import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.two_tower import TwoTower, TwoTowerConfig
from tests.support.planted import contexts, data, planted

QUICK = {"dim": 8, "learning_rate": 0.02, "batch_size": 16, "epochs": 10}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = [[0, 1, 2], [0, 2], [], [3, 1]]


def small(**parameters: object) -> TwoTower:
    model = TwoTower(TwoTowerConfig.model_validate({"dim": 3, "epochs": 1} | parameters), 5)
    items = pl.DataFrame({"kind": ["a", "b", "a", None, "b"]})
    model.fit(TrainingData(histories=contexts(HISTORIES), n_items=5, items=items), CONTEXT)
    return model


@pytest.mark.parametrize("layers", [0, 1])
def test_the_score_is_the_cosine_over_the_temperature(layers: int) -> None:
    model = small(layers=layers, temperature=0.25)
    network = model.network
    known = network.nobody + network.history.items.weight[[3, 0]].sum(dim=0) / 2**0.5
    hidden = torch.relu(network.user_tower.layers[0](known)) if layers else known
    person = known + network.user_out.weight @ hidden
    wanted = torch.cosine_similarity(person[None], model.item_vectors()) / 0.25
    torch.testing.assert_close(model.score(Contexts.from_lists([[3, 0]]))[0], wanted.detach())


def test_an_item_is_its_own_vector_and_its_features() -> None:
    model = small(layers=0)
    network = model.network
    with torch.no_grad():
        network.items.weight.zero_()
        network.item_out.weight.zero_()
        model.pass_ends()
    vectors = model.item_vectors()
    assert torch.equal(vectors[0], vectors[2])
    assert torch.equal(vectors[1], vectors[4])
    assert not torch.equal(vectors[0], vectors[1])
    assert vectors[3].tolist() == [0, 0, 0]


def test_features_of_people_matter_and_unknown_ones_do_not() -> None:
    model = small()
    plain = Contexts.from_lists([[], []])
    asked = contexts([[3], [3]]).take(np.array([0, 1]), np.array([0, 0]))
    assert not torch.allclose(model.score(plain), model.score(asked))


def test_uniform_sampling_learns_too() -> None:
    parameters = QUICK | {"sampling": "uniform", "negatives": 12}
    model = TwoTower(TwoTowerConfig.model_validate(parameters), 24)
    model.fit(data(planted()), CONTEXT)
    scores = model.score(contexts([[8, 9, 10], [16, 17, 18]])).view(2, 3, 8)
    assert scores.mean(dim=2).argmax(dim=1).tolist() == [1, 2]
