import math

import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models import neumf
from recloop.models.base import FitContext, TrainingData
from recloop.models.neumf import NeuMF, NeuMFConfig

QUICK = {"dim": 8, "learning_rate": 0.02, "negatives": 4, "batch_size": 16, "epochs": 15}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = [[0, 1, 2], [0, 2], [], [3, 1], [4]]


def small(**parameters: object) -> NeuMF:
    model = NeuMF(NeuMFConfig.model_validate({"dim": 4, "epochs": 1} | parameters), 5)
    model.fit(TrainingData(histories=Contexts.from_lists(HISTORIES), n_items=5), CONTEXT)
    return model


def person(model: NeuMF, items: list[int]) -> torch.Tensor:
    """``nobody + n^-0.5 * sum``, by hand."""
    vectors = model.network.history.items.weight[items].sum(dim=0) / max(1, len(items)) ** 0.5
    return (model.network.nobody + vectors).detach()


def test_the_score_is_that_of_the_perceptron_over_the_concatenation() -> None:
    model = small(layers=2)
    network = model.network
    first = torch.cat([network.perceptron.person.weight, network.perceptron.item.weight], dim=1)
    (second,) = network.perceptron.rest
    scores = model.score(Contexts.from_lists([[3, 0], []]))
    for row, items in enumerate([[3, 0], []]):
        pairs = torch.cat([person(model, items)[4:].expand(5, -1), network.items.weight[:, 4:]], dim=1)
        state = torch.relu(pairs @ first.T + network.perceptron.person.bias)
        wanted = torch.relu(state @ second.weight.T + second.bias) @ network.weights
        wanted = wanted + network.items.weight[:, :4] @ (network.product_weights * person(model, items)[:4])
        torch.testing.assert_close(scores[row], wanted.detach())


def test_blocks_of_items_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    asked = Contexts.from_lists([[3, 0], [], [1]])
    whole = model.score(asked)
    monkeypatch.setattr(neumf, "in_blocks", lambda *_: [slice(0, 2), slice(2, 3), slice(3, 5)])
    torch.testing.assert_close(model.score(asked), whole)


def test_loss_and_memory_do_not_need_anything_to_predict() -> None:
    model = NeuMF(NeuMFConfig(dim=4), 3)
    model.begin(TrainingData(histories=Contexts.from_lists([[], []]), n_items=3), CONTEXT)
    assert model.advance(CONTEXT) == 0


def test_the_first_loss_is_that_of_knowing_nothing() -> None:
    model = NeuMF(NeuMFConfig(dim=4, learning_rate=1e-9), 5)
    model.begin(TrainingData(histories=Contexts.from_lists(HISTORIES), n_items=5), CONTEXT)
    with torch.no_grad():
        for vectors in (model.network.items.weight, model.network.weights):
            vectors.zero_()
    assert model.advance(CONTEXT) == pytest.approx(math.log(2), rel=1e-4)
