from dataclasses import replace

import numpy as np
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.multitask import Multitask, MultitaskConfig, _mean_values
from tests.support.planted import contexts, data, planted

QUICK = {"dim": 8, "learning_rate": 0.02, "batch_size": 16, "negatives": 24, "epochs": 10}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)


def trained(world: TrainingData, **parameters: object) -> Multitask:
    model = Multitask(MultitaskConfig.model_validate(QUICK | parameters), world.n_items)
    model.fit(world, CONTEXT)
    return model


def test_the_score_is_a_product_of_sums() -> None:
    model = trained(data(planted()), epochs=1)
    fields = model.network.fields
    person = fields.nobody + fields.history.items.weight[[3, 20]].sum(dim=0) / 2**0.5
    wanted = (fields.items.weight + fields.described) @ person
    torch.testing.assert_close(model.score(Contexts.from_lists([[3, 20]]))[0], wanted.detach())


def test_a_pair_with_several_events_is_rated_with_their_mean() -> None:
    events = replace(Contexts.from_lists([[1, 0, 1], [2]]), values=np.array([4, 3, 1, 5], dtype=np.float32))
    assert _mean_values(events, 4).toarray().tolist() == [[3, 2.5, 0, 0], [0, 0, 5, 0]]


def test_ratings_are_learned_beside_the_choice() -> None:
    model = trained(data(planted()), epochs=30, rating_weight=1.0)
    ratings = model.ratings(contexts([[8, 9, 10], [16, 17, 18]])).view(2, 3, 8).mean(dim=2)
    assert ratings[0].argmax() == 1
    assert ratings[1].argmax() == 2
    assert 4 < ratings[0, 1] < 6
    assert ratings[0, 0] < ratings[0, 1] - 0.5


def test_the_weight_of_ratings_matters() -> None:
    world = data(planted())
    first, second = (trained(world, epochs=1, rating_weight=weight) for weight in (0.0, 1.0))
    assert not torch.equal(first.item_vectors(), second.item_vectors())


def test_without_different_ratings_only_the_choice_is_learned() -> None:
    world = data(planted())
    alike = replace(world.histories, values=np.full_like(world.histories.values, 3))
    model = trained(replace(world, histories=alike), epochs=2)
    assert model.ratings(contexts([[1], []])).unique().tolist() == [3.0]
