from dataclasses import replace

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.autorec import AutoRec, AutoRecConfig
from recloop.models.base import FitContext, TrainingData

QUICK = {"dim": 16, "batch_size": 16, "learning_rate": 0.02, "epochs": 20, "regularization": 1.0}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = replace(
    Contexts.from_lists([[0, 1, 3, 0], [], [1, 2], [4]]),
    values=np.array([5, 3, 0, 1, 4, 2, 3], dtype=np.float32),
)
RATINGS = torch.tensor([[3.0, 3, 0, 0, 0], [0, 0, 0, 0, 0], [0, 4, 2, 0, 0], [0, 0, 0, 0, 3]])
RATED = torch.tensor([[1.0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]])
MEAN = (3 + 3 + 0 + 4 + 2 + 3) / 6


def begun(**parameters: object) -> AutoRec:
    model = AutoRec(AutoRecConfig.model_validate({"dim": 3, "regularization": 0.0} | parameters), 5)
    model.begin(TrainingData(histories=HISTORIES, n_items=5), CONTEXT)
    return model


def by_hand(model: AutoRec) -> torch.Tensor:
    network = model.network
    code = (((RATINGS - MEAN) * RATED) @ network.encoder.first.weight + network.encoder.first.bias).sigmoid()
    return MEAN + network.decoder.bias + code @ network.decoder.items.T


def test_scores_are_ratings_around_the_mean() -> None:
    model = begun()
    assert model.network.mean.item() == pytest.approx(MEAN)
    torch.testing.assert_close(model.score(HISTORIES), by_hand(model).detach())


def test_the_loss_counts_known_ratings_alone_and_the_same_for_nobody() -> None:
    model = begun()
    predicted = by_hand(model)[[0, 2, 1]]
    errors = (RATED[[0, 2]] * (RATINGS[[0, 2]] - predicted[:2]) ** 2).sum()
    nobody = (RATED[[0, 2]] * (RATINGS[[0, 2]] - predicted[2]) ** 2).sum() / 2
    found = model.loss(np.array([0, 1]), torch.Generator())
    assert found.item() == pytest.approx(((errors + nobody) / 5).item(), rel=1e-5)


def test_the_penalty_is_shared_out_over_all_ratings() -> None:
    plain, penalised = begun(), begun(regularization=3.0)
    network = plain.network
    wanted = 3.0 / 6 * (network.encoder.first.weight.square().sum() + network.decoder.items.square().sum()) / 2
    rows = np.array([0])
    found = penalised.loss(rows, torch.Generator()) - plain.loss(rows, torch.Generator())
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_an_empty_history_learns_mean_ratings() -> None:
    histories = replace(
        Contexts.from_lists([[0, 1], [0, 1], [1, 2]]), values=np.array([5, 1, 4, 2, 3, 2], dtype=np.float32)
    )
    model = AutoRec(AutoRecConfig(dim=4, regularization=0, learning_rate=0.05, epochs=200), 3)
    model.fit(TrainingData(histories=histories, n_items=3), CONTEXT)
    found = model.score(Contexts.from_lists([[]]))[0]
    torch.testing.assert_close(found, torch.tensor([4.5, 2.0, 2.0]), atol=0.35, rtol=0)


def test_ratings_that_are_all_alike_are_refused() -> None:
    model = AutoRec(AutoRecConfig(), 3)
    with pytest.raises(ModelError) as error:
        model.fit(TrainingData(histories=Contexts.from_lists([[0, 1], [2]]), n_items=3), CONTEXT)
    assert str(error.value) == ("autorec needs ratings, but all values are 1; give real values or leave the model out.")


def test_similarity_is_the_cosine_of_the_items_vectors() -> None:
    model = begun()
    vectors = torch.nn.functional.normalize(model.network.decoder.items.detach(), dim=1)
    torch.testing.assert_close(model.similar([1, 4]), vectors[[1, 4]] @ vectors.T)
