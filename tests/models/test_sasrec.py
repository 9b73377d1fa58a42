from dataclasses import replace

import numpy as np
import pytest
import torch

from recloop.config import parse
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError, ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.sasrec import SASRec, SASRecConfig, _Windows, _with_start

QUICK = {"dim": 16, "layers": 1, "max_length": 6, "batch_size": 16, "learning_rate": 0.02, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
SMALL = {"dim": 8, "layers": 2, "heads": 2, "max_length": 4, "batch_size": 8, "learning_rate": 0.02, "epochs": 25}


def trained(histories: list[list[int]], n_items: int, **parameters: object) -> SASRec:
    model = SASRec(SASRecConfig.model_validate(SMALL | parameters), n_items)
    model.fit(TrainingData(histories=Contexts.from_lists(histories), n_items=n_items), CONTEXT)
    return model


def test_the_start_token_comes_before_every_history() -> None:
    started = _with_start(Contexts.from_lists([[1, 2], [], [0]]), 3)
    assert started.offsets.tolist() == [0, 3, 4, 6]
    assert started.items.tolist() == [3, 1, 2, 3, 3, 0]
    assert len(started.timestamps) == len(started.values) == 6


def test_windows_predict_every_event_once_from_the_newest_back() -> None:
    windows = _Windows(_with_start(Contexts.from_lists([[0, 1, 2, 3, 4], [], [2], [4, 3]]), 5), 2)
    assert len(windows) == 5
    sequences, targets = windows.batch(np.arange(5))
    assert sequences.tolist() == [[2, 3], [0, 1], [-1, 5], [-1, 5], [5, 4]]
    assert targets.tolist() == [3, 4, 1, 2, 0, 2, 4, 3]
    sequences, targets = windows.batch(np.array([3, 2]))
    assert sequences.tolist() == [[5], [5]]
    assert targets.tolist() == [2, 0]


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax"])
def test_it_learns_what_follows_what(loss: str) -> None:
    cycles = [[(start + step) % 6 for step in range(9)] for start in range(6)] * 4
    model = trained(cycles, 6, loss=loss, negatives=5)
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


def test_training_in_bigger_padding_gives_the_same_states() -> None:
    model = trained([[0, 1, 2]], 3, epochs=1)
    short = model.network(torch.tensor([[3, 0, 1]]))
    padded = model.network(torch.tensor([[-1, 3, 0, 1]]))
    torch.testing.assert_close(padded[:, 1:], short)


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


def test_events_without_order_are_refused() -> None:
    histories = Contexts.from_lists([[0, 1], [1, 2]])
    unordered = replace(histories, timestamps=np.zeros(4, dtype=np.int64))
    with pytest.raises(ModelError, match="sasrec needs the order of events"):
        SASRec(SASRecConfig(), 3).begin(TrainingData(histories=unordered, n_items=3), CONTEXT)


def test_weights_of_another_shape_are_refused() -> None:
    tensors = trained([[0, 1]], 2, epochs=1).tensors()
    with pytest.raises(ModelError, match=r"Tensor 'positions' of sasrec has shape \(4, 8\), not \(5, 8\)"):
        SASRec(SASRecConfig.model_validate(SMALL | {"max_length": 5}), 2).load_tensors(tensors)
