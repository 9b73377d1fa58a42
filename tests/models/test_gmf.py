import math

import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.gmf import GMF, GMFConfig

QUICK = {"dim": 8, "learning_rate": 0.02, "negatives": 4, "batch_size": 16, "epochs": 15}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = [[0, 1, 2], [0, 2], [], [3, 1], [4]]


def small(**parameters: object) -> GMF:
    model = GMF(GMFConfig.model_validate({"dim": 4, "epochs": 1} | parameters), 5)
    model.fit(TrainingData(histories=Contexts.from_lists(HISTORIES), n_items=5), CONTEXT)
    return model


def person(model: GMF, items: list[int]) -> torch.Tensor:
    """``nobody + n^-0.5 * sum``, by hand."""
    vectors = model.network.history.items.weight[items].sum(dim=0) / max(1, len(items)) ** 0.5
    return (model.network.nobody + vectors).detach()


def test_the_score_is_a_weighted_product() -> None:
    model = small()
    scores = model.score(Contexts.from_lists([[3, 0], []]))
    for row, items in enumerate([[3, 0], []]):
        joint = person(model, items) * model.network.items.weight.detach()
        torch.testing.assert_close(scores[row], joint @ model.network.weights.detach())


def test_loss_and_memory_do_not_need_anything_to_predict() -> None:
    model = GMF(GMFConfig(dim=4), 3)
    model.begin(TrainingData(histories=Contexts.from_lists([[], []]), n_items=3), CONTEXT)
    assert model.advance(CONTEXT) == 0


def test_the_first_loss_is_that_of_knowing_nothing() -> None:
    model = GMF(GMFConfig(dim=4, learning_rate=1e-9), 5)
    model.begin(TrainingData(histories=Contexts.from_lists(HISTORIES), n_items=5), CONTEXT)
    with torch.no_grad():
        for vectors in (model.network.items.weight, model.network.nobody):
            vectors.zero_()
    assert model.advance(CONTEXT) == pytest.approx(math.log(2), rel=1e-4)
