from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recloop import devices
from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError, ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.sasrec import SASRec, SASRecConfig

QUICK = {"dim": 16, "layers": 1, "max_length": 6, "batch_size": 16, "learning_rate": 0.02, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
SMALL = {"dim": 8, "layers": 2, "heads": 2, "max_length": 4, "batch_size": 8, "learning_rate": 0.02, "epochs": 25}


def trained(histories: list[list[int]], n_items: int, **parameters: object) -> SASRec:
    model = SASRec(SASRecConfig.model_validate(SMALL | parameters), n_items)
    model.fit(TrainingData(histories=Contexts.from_lists(histories), n_items=n_items), CONTEXT)
    return model


@pytest.mark.parametrize(
    "parameters",
    [
        {"loss": "softmax"},
        {"loss": "sampled_softmax"},
        {"loss": "sampled_softmax", "sampling": "popularity"},
        {"loss": "gbce"},
        {"loss": "bce", "epochs": 80},
    ],
)
def test_it_learns_what_follows_what(parameters: dict[str, object]) -> None:
    cycles = [[(start + step) % 6 for step in range(9)] for start in range(6)] * 4
    model = trained(cycles, 6, **{"negatives": 5} | parameters)
    best = model.score(Contexts.from_lists([[3], [4, 5], [2, 3, 4, 5, 0, 1]])).argmax(dim=1)
    assert best.tolist() == [4, 0, 2]


def test_order_matters_and_only_the_newest_events_do() -> None:
    model = trained([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]], 4, epochs=3)
    scores = model.score(Contexts.from_lists([[0, 1], [1, 0], [2, 2, 2, 3, 0, 1, 2], [3, 0, 1, 2]]))
    assert not torch.allclose(scores[0], scores[1], atol=1e-4)
    torch.testing.assert_close(scores[2], scores[3])


def test_an_empty_history_is_answered_with_what_people_begin_with() -> None:
    model = trained([[2, 0, 1], [2, 1, 0], [2, 0, 1]] * 5, 4)
    assert model.score(Contexts.from_lists([[]]))[0].argmax().item() == 2


def test_popular_items_are_drawn_more_often_and_no_chance_is_zero() -> None:
    model = trained([[0, 0, 0], [0, 1]], 3, epochs=1)
    torch.testing.assert_close(model._chances, torch.tensor([5 / 8, 2 / 8, 1 / 8], dtype=torch.float64))


def described(**parameters: object) -> SASRec:
    # item 5 occurs once, and has the attributes of items that follow item 0
    items = pl.DataFrame({"genre": [[7], [8], [8], [9], [9], [8]]})
    histories = [[0, 1], [0, 2], [3, 4], [3, 4], [5]] * 8
    data = TrainingData(histories=Contexts.from_lists(histories), n_items=6, items=items)
    model = SASRec(SASRecConfig.model_validate(SMALL | {"attributes": True, "epochs": 40} | parameters), 6)
    model.fit(data, CONTEXT)
    return model


def test_attributes_carry_over_to_items_that_share_them() -> None:
    ahead = []
    for attributes in (False, True):
        model = described(attributes=attributes, epochs=10)
        scores = model.score(Contexts.from_lists([[0]]))[0]
        ahead.append((scores[5] - scores[3:5].max()).item())
    assert ahead[1] > max(1, ahead[0] + 1)


def test_an_item_vector_is_its_own_and_its_attributes() -> None:
    model = described(epochs=2)
    own, attributes = model.network.items.weight, model.network.attributes.weight
    assert attributes.shape == (3, 8)
    members = [[0], [1, 2, 5], [3, 4]]
    matched = {
        tuple(items for items in range(6) if torch.allclose(model.item_vectors()[items], own[items] + row, atol=1e-6))
        for row in attributes
    }
    assert matched == {tuple(items) for items in members}
    assert torch.equal(model.network.vectors(None)[6], own[6])


def test_attributes_are_stored_as_sums_and_restored_without_the_table() -> None:
    model = described(epochs=2)
    again = SASRec(model.config, 6)
    again.load_tensors(model.tensors())
    asked = Contexts.from_lists([[0], [3, 1], []])
    assert torch.equal(again.score(asked), model.score(asked))


def test_attributes_without_a_table_of_items_are_none() -> None:
    model = trained([[0, 1], [1, 2]], 3, attributes=True, epochs=2)
    assert torch.equal(model.item_vectors(), model.network.items.weight[:3])


def test_training_in_bfloat16_goes_the_way_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    slopes = []
    for fast in (False, True):
        monkeypatch.setattr(devices, "multiplies_bfloat16", lambda device, fast=fast: device.type == "cpu" and fast)
        model = SASRec(SASRecConfig.model_validate(SMALL | {"dim": 32, "dropout": 0.0}), 12)
        histories = [[(start + step) % 12 for step in range(9)] for start in range(12)]
        model.begin(TrainingData(histories=Contexts.from_lists(histories), n_items=12), CONTEXT)
        model.advance(CONTEXT)
        with devices.autocast(model.device):
            loss = model.loss(np.arange(24), torch.Generator())
        loss.backward()
        slopes.append(torch.cat([parameter.grad.flatten() for parameter in model.network.parameters()]))
        assert all(parameter.dtype == torch.float32 for parameter in model.network.parameters())
    assert not torch.equal(*slopes)
    assert torch.cosine_similarity(*slopes, dim=0) > 0.99
    assert slopes[1].norm().item() == pytest.approx(slopes[0].norm().item(), rel=0.05)


def test_another_seed_gives_another_model() -> None:
    data = TrainingData(histories=Contexts.from_lists([[0, 1, 2], [2, 1]]), n_items=3)
    models = [SASRec(SASRecConfig.model_validate(SMALL | {"epochs": 1}), 3) for _ in range(2)]
    for seed, model in enumerate(models):
        model.fit(data, replace(CONTEXT, seed=seed))
    first, second = (model.item_vectors() for model in models)
    assert not torch.equal(first, second)


def test_heads_must_divide_the_dimension() -> None:
    with pytest.raises(ConfigError) as error:
        parse(SASRecConfig, {"dim": 10, "heads": 4}, "train.sasrec")
    assert "heads (4) must divide dim (10)" in str(error.value)


def test_draws_by_popularity_need_the_loss_that_corrects_them() -> None:
    with pytest.raises(ConfigError) as error:
        parse(SASRecConfig, {"sampling": "popularity", "loss": "gbce"}, "train.sasrec")
    assert "sampling by popularity needs loss 'sampled_softmax', not 'gbce'" in str(error.value)


def test_events_without_order_are_refused() -> None:
    histories = Contexts.from_lists([[0, 1], [1, 2]])
    unordered = replace(histories, timestamps=np.zeros(4, dtype=np.int64))
    with pytest.raises(ModelError, match="sasrec needs the order of events"):
        SASRec(SASRecConfig(), 3).begin(TrainingData(histories=unordered, n_items=3), CONTEXT)


def test_weights_of_another_shape_are_refused() -> None:
    tensors = trained([[0, 1]], 2, epochs=1).tensors()
    with pytest.raises(ModelError, match=r"Tensor 'positions' of sasrec has shape \(4, 8\), not \(5, 8\)"):
        SASRec(SASRecConfig.model_validate(SMALL | {"max_length": 5}), 2).load_tensors(tensors)


def test_vectors_of_attributes_are_of_no_use_to_another_model() -> None:
    """They are numbered as they occur in the data, and the numbers are not stored."""
    model = described(attributes=True, epochs=1)
    with pytest.raises(ModelError) as caught:
        model.warm_start(model.tensors(), np.arange(6))
    assert str(caught.value) == (
        "sasrec cannot begin with what another model learned: attributes of items have no ids in a stored model; train "
        "it from the beginning."
    )
