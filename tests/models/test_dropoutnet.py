from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.features import Features
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.dropoutnet import DropoutNet, DropoutNetConfig
from recloop.models.popularity import Popularity, PopularityConfig
from recloop.nn.spectrum import preferences
from tests.support.cold import auc_of_new_items, auc_of_strangers, before_they_came
from tests.support.planted import N_ITEMS

QUICK = {"factors": 8, "dim": 16, "epochs": 5, "learning_rate": 0.01, "batch_size": 16}
CONTEXT = FitContext(device=torch.device("cpu"), seed=3)
TABLE = pl.DataFrame({"genre": ["war", "war", "love", "love", "crime"]})
PEOPLE = Features.from_frame(pl.DataFrame({"job": ["poet", "smith", None, "poet"]}))
HISTORIES = replace(Contexts.from_lists([[0, 1], [3], [], [2, 0, 3]]), features=PEOPLE)
DATA = TrainingData(histories=HISTORIES, n_items=5, items=TABLE)


def begun(data: TrainingData = DATA, **parameters: object) -> DropoutNet:
    values = {"factors": 3, "dim": 4, "dropout": 0.0} | parameters
    model = DropoutNet(DropoutNetConfig.model_validate(values), data.n_items)
    model.begin(data, CONTEXT)
    return model


def stirred(model: DropoutNet) -> DropoutNet:
    """The model with answers of its networks that are not zero."""
    with torch.no_grad():
        for tower in (model.network.people, model.network.things):
            tower.answer.weight.normal_(generator=torch.Generator().manual_seed(1))
        model.pass_ends()
    return model


def low_pass() -> np.ndarray:
    """Scores of the preferences alone, up to a factor."""
    matrix = HISTORIES.matrix(5)
    given, wanted = preferences(matrix, 3, np.random.default_rng(3))
    return matrix @ given / np.sqrt(np.maximum(HISTORIES.lengths, 1))[:, None] @ wanted.T


def test_untrained_it_answers_with_the_preferences() -> None:
    wanted = low_pass()
    found = begun().score(HISTORIES).numpy()
    np.testing.assert_allclose(found / np.abs(found).max(), wanted / np.abs(wanted).max(), rtol=1e-4, atol=1e-6)


def test_vectors_are_preferences_and_what_the_network_adds() -> None:
    model = stirred(begun())
    tower = model.network.things
    bucket = Features.from_frame(TABLE).buckets[2]
    state = tower.attributes.weight[bucket] + tower.preference(model._wanted[2])
    state = tower.hidden[0](torch.tanh(state))
    wanted = model._wanted[2] + tower.answer(torch.tanh(state))
    torch.testing.assert_close(model.item_vectors()[2], wanted.detach())


def test_people_are_the_sum_of_their_items_over_the_root_of_their_number() -> None:
    model = stirred(begun())
    plain = begun()
    taken = plain.network.taken
    found = plain.user_vectors(HISTORIES)
    torch.testing.assert_close(found[3], (taken[2] + taken[0] + taken[3]) / 3**0.5)
    assert found[2].tolist() == [0, 0, 0]
    strangers = replace(Contexts.from_lists([[], []]), features=PEOPLE.take(np.array([0, 1])))
    poet, smith = model.user_vectors(strangers)
    assert not torch.allclose(poet, smith)


def test_the_loss_is_the_squared_difference_to_the_preferences() -> None:
    model = stirred(begun())
    model.network.eval()
    rows = np.array([0, 2])
    people = begun().user_vectors(HISTORIES)[[0, 3]]
    target = people @ model._wanted[:4].T
    found = model.user_vectors(HISTORIES)[[0, 3]] @ model.item_vectors()[:4].T
    loss = model.loss(rows, torch.Generator().manual_seed(0)).detach()
    torch.testing.assert_close(loss, (found - target).square().mean() / 3)
    assert begun().loss(rows, torch.Generator().manual_seed(0)).item() == pytest.approx(0, abs=1e-10)


def test_half_of_the_preferences_are_dropped_and_have_to_be_made_up_for() -> None:
    model = begun(dropout=0.5)
    losses = [model.loss(np.arange(3), torch.Generator().manual_seed(seed)).item() for seed in range(30)]
    assert max(losses) > 0
    assert len({round(loss, 4) for loss in losses}) > 5
    passes = [model.advance(CONTEXT) for _ in range(200)]
    assert np.mean(passes[-20:]) < 0.8 * np.mean(passes[:20])


def test_items_that_nobody_took_are_not_learned_to_be_disliked() -> None:
    model = begun()
    assert model._learnable.tolist() == [0, 1, 2, 3]


def test_a_large_catalogue_is_sampled() -> None:
    model = stirred(begun(negatives=2))
    drawn = torch.randint(4, (2,), generator=torch.Generator().manual_seed(6))
    people = begun().user_vectors(HISTORIES)[[1]]
    found = model.user_vectors(HISTORIES)[[1]] @ model.item_vectors()[drawn].T
    loss = model.loss(np.array([1]), torch.Generator().manual_seed(6)).detach()
    torch.testing.assert_close(loss, (found - people @ model._wanted[drawn].T).square().mean() / 3)


def test_items_that_nobody_took_have_no_preference_and_a_vector_all_the_same() -> None:
    model = begun()
    assert model._wanted[4].tolist() == [0, 0, 0]
    assert stirred(model).item_vectors()[4].any()


def test_people_without_attributes_are_people_of_whom_nothing_is_known() -> None:
    model = stirred(begun(replace(DATA, histories=replace(HISTORIES, features=None))))
    nothing = replace(Contexts.from_lists([[]]), features=Features.empty(1))
    assert torch.equal(model.score(Contexts.from_lists([[]])), model.score(nothing))
    model.advance(CONTEXT)


def test_one_hidden_layer_is_enough() -> None:
    assert len(begun(layers=1).network.people.hidden) == 0
    assert torch.isfinite(begun(layers=1).score(HISTORIES)).all()


def test_new_items_and_strangers_are_answered_from_their_attributes() -> None:
    data = before_they_came()
    popularity = Popularity(PopularityConfig(), N_ITEMS)
    popularity.fit(data, CONTEXT)
    model = DropoutNet(DropoutNetConfig.model_validate(QUICK | {"epochs": 15}), N_ITEMS)
    model.fit(data, CONTEXT)
    assert auc_of_new_items(popularity) == pytest.approx(0.5)
    assert auc_of_strangers(popularity) == pytest.approx(0.5)
    assert auc_of_new_items(model) > 0.9
    assert auc_of_strangers(model) > 0.9


def test_without_attributes_of_items_the_table_is_asked_for() -> None:
    with pytest.raises(ModelError) as error:
        begun(replace(DATA, items=None))
    assert str(error.value) == (
        "dropoutnet needs attributes of items; add it to the table 'items' or leave the model out."
    )
