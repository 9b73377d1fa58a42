from math import exp

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.narm import NARM, Attention, NARMConfig
from recloop.nn.packing import Packing

QUICK = {"dim": 16, "max_length": 6, "batch_size": 16, "learning_rate": 0.02, "epochs": 12}
CPU = torch.device("cpu")
CONTEXT = FitContext(device=CPU, seed=1)
SMALL = {"dim": 8, "max_length": 4, "dropout": 0.0, "batch_size": 8, "learning_rate": 0.02, "epochs": 25}


def trained(histories: list[list[int]], n_items: int, **parameters: object) -> NARM:
    model = NARM(NARMConfig.model_validate(SMALL | parameters), n_items)
    model.fit(TrainingData(histories=Contexts.from_lists(histories), n_items=n_items), CONTEXT)
    return model


def attention(dim: int) -> Attention:
    layer = Attention(dim)
    torch.nn.init.normal_(layer.weigh, generator=torch.Generator().manual_seed(5))
    return layer


@torch.no_grad()
def test_attention_by_hand() -> None:
    layer = attention(1)
    for parameter, value in ((layer.query.weight, 2.0), (layer.key.weight, 3.0), (layer.weigh, 0.5)):
        parameter.fill_(value)
    states = torch.tensor([[[1.0], [-1.0], [0.2]]])

    def weight(query: float, key: float) -> float:
        return 0.5 / (1 + exp(-(2 * query + 3 * key)))

    expected = [
        weight(1, 1) * 1,
        weight(-1, 1) * 1 + weight(-1, -1) * -1,
        weight(0.2, 1) * 1 + weight(0.2, -1) * -1 + weight(0.2, 0.2) * 0.2,
    ]
    np.testing.assert_allclose(layer(states)[0, :, 0].numpy(), expected, rtol=1e-6)


@torch.no_grad()
def test_no_position_looks_at_what_comes_later() -> None:
    layer = attention(3)
    states = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2))
    changed = states.clone()
    changed[:, 3:] += 1
    torch.testing.assert_close(layer(changed)[:, :3], layer(states)[:, :3])


@torch.no_grad()
def test_the_newest_alone_is_the_last_of_all() -> None:
    network = trained([[0, 1, 2]], 3, epochs=1).network
    items, packing = torch.tensor([3, 0, 3, 1, 2, 0, 3]), Packing(np.array([2, 4, 1]), CPU)
    torch.testing.assert_close(network(items, packing, newest_only=True), network(items, packing)[[1, 5, 6]])


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax"])
def test_it_learns_what_follows_what(loss: str) -> None:
    cycles = [[(start + step) % 6 for step in range(9)] for start in range(6)] * 4
    model = trained(cycles, 6, loss=loss, negatives=5)
    best = model.score(Contexts.from_lists([[3], [4, 5], [2, 3, 4, 5, 0, 1]])).argmax(dim=1)
    assert best.tolist() == [4, 0, 2]


def test_only_the_newest_events_matter() -> None:
    model = trained([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]], 4, epochs=3)
    scores = model.score(Contexts.from_lists([[2, 2, 2, 3, 0, 1, 2], [3, 0, 1, 2], [0, 3, 1, 2]]))
    torch.testing.assert_close(scores[0], scores[1])
    assert not torch.allclose(scores[1], scores[2], atol=1e-4)


def test_an_empty_history_is_answered_with_what_people_begin_with() -> None:
    model = trained([[2, 0, 1], [2, 1, 0], [2, 0, 1]] * 5, 4)
    assert model.score(Contexts.from_lists([[]]))[0].argmax().item() == 2
