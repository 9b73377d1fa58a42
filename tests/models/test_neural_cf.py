"""What all models of neural collaborative filtering do alike; how each matches a pair, its own tests say."""

import math

import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import TrainingData
from recloop.models.gmf import GMF
from recloop.models.mlp import MLP
from recloop.models.neumf import NeuMF
from recloop.models.neural_cf import NeuralCF
from tests.support.neural_cf import CONTEXT, WORLD, small


@pytest.mark.parametrize("kind", [MLP, NeuMF])
def test_blocks_of_items_change_nothing(kind: type[NeuralCF], monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(kind)
    asked = Contexts.from_lists([[3, 0], [], [1]])
    whole = model.score(asked)
    monkeypatch.setattr(f"{kind.__module__}.in_blocks", lambda *_: [slice(0, 2), slice(2, 3), slice(3, 5)])
    torch.testing.assert_close(model.score(asked), whole)


@pytest.mark.parametrize("kind", [GMF, MLP, NeuMF])
def test_loss_and_memory_do_not_need_anything_to_predict(kind: type[NeuralCF]) -> None:
    model = kind(kind.Config(dim=4), 3)
    model.begin(TrainingData(histories=Contexts.from_lists([[], []]), n_items=3), CONTEXT)
    assert model.advance(CONTEXT) == 0


@pytest.mark.parametrize(("kind", "other"), [(GMF, "nobody"), (MLP, "weights"), (NeuMF, "weights")])
def test_the_first_loss_is_that_of_knowing_nothing(kind: type[NeuralCF], other: str) -> None:
    model = kind(kind.Config(dim=4, learning_rate=1e-9), 5)
    model.begin(WORLD, CONTEXT)
    with torch.no_grad():
        for name in ("items.weight", other):
            model.network.get_parameter(name).zero_()
    assert model.advance(CONTEXT) == pytest.approx(math.log(2), rel=1e-4)
