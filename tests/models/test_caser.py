import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.caser import Caser, CaserConfig, Convolutions, spread
from recloop.nn.packing import Packing

QUICK = {"dim": 16, "max_length": 3, "history": 6, "filters": 4, "vertical_filters": 2, "dropout": 0.2}
QUICK |= {"batch_size": 16, "learning_rate": 0.02, "epochs": 12}
CPU = torch.device("cpu")
CONTEXT = FitContext(device=CPU, seed=1)
SMALL = {"dim": 8, "max_length": 3, "history": 4, "targets": 1, "filters": 4, "vertical_filters": 2, "dropout": 0.0}
SMALL |= {"batch_size": 8, "learning_rate": 0.02, "epochs": 25}


def trained(histories: list[list[int]], n_items: int, **parameters: object) -> Caser:
    model = Caser(CaserConfig.model_validate(SMALL | parameters), n_items)
    model.fit(TrainingData(histories=Contexts.from_lists(histories), n_items=n_items), CONTEXT)
    return model


@torch.no_grad()
def test_convolutions_by_hand() -> None:
    layer = Convolutions(dim=2, length=2, filters=1, vertical_filters=1, dropout=0.0)
    single, double = layer.horizontal
    single.weight.copy_(torch.tensor([[[1.0], [10.0]]]))
    single.bias.fill_(-1)
    double.weight.copy_(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    double.bias.fill_(0)
    layer.vertical.weight.copy_(torch.tensor([[0.5, 2.0]]))
    layer.join.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 1.0, 1.0]]))
    layer.join.bias.copy_(torch.tensor([0.25, -1.0]))
    places = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [-3.0, -1.0]]])
    # pictures: (0, 0), (1, 2) and (1, 2), (-3, -1)
    first = [max(-1, 1 + 20 - 1) + 0.25, (2 * 1 + 4 * 2) + (2 * 1) + (2 * 2) - 1]
    second = [20 + 0.25, max(0, 1 - 6 + 6 - 4) + (0.5 - 6) + (1 - 2) - 1]
    expected = [[first[0], first[1]], [second[0], max(0, second[1])]]
    np.testing.assert_allclose(layer(places)[0].numpy(), expected, rtol=1e-6)


@torch.no_grad()
def test_a_person_is_the_scaled_sum_of_tastes() -> None:
    model = trained([[0, 1, 2]], 3, epochs=1)
    tensors = model.tensors()
    tensors["tastes.weight"] = torch.arange(24.0).view(3, 8)
    tensors["anybody"] = torch.full((8,), 0.5)
    model.load_tensors(tensors)
    vectors = model.user_vectors(Contexts.from_lists([[], [2], [1, 0, 0, 0, 2, 2]]))[:, 8:]
    tastes = np.arange(24.0).reshape(3, 8)
    expected = [np.zeros(8), tastes[2], (2 * tastes[0] + 2 * tastes[2]) / 2]
    np.testing.assert_allclose(vectors.numpy(), np.array(expected) + 0.5, rtol=1e-6)


@torch.no_grad()
def test_training_and_scoring_see_the_same() -> None:
    model = trained([[0, 1, 2]], 5, epochs=1)
    items, packing = torch.tensor([5, 4, 0, 1, 5, 2]), Packing(np.array([4, 2]), CPU)
    states = model.network(items, packing)
    asked = Contexts.from_lists([[], [4], [4, 0], [4, 0, 1], [], [2]])
    torch.testing.assert_close(model.user_vectors(asked), states)


def test_several_targets_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, items = torch.randn(4, 3, generator=generator), torch.randn(6, 3, generator=generator)
    targets = torch.tensor([[0, 1], [2, 2], [5, 3], [4, 0]])
    shares = torch.tensor([[0.5, 0.5], [1, 0], [0.25, 0.75], [1, 0]])
    logits = hidden @ items.T
    each = torch.stack([cross_entropy(logits, targets[:, k], reduction="none") for k in range(2)], dim=1)
    found = cross_entropy(logits, targets[:, 0]) + spread(hidden, items, targets, shares)
    torch.testing.assert_close(found, (each * shares).sum(dim=1).mean())


def test_targets_end_with_the_history() -> None:
    model = Caser(CaserConfig.model_validate(SMALL | {"targets": 3}), 6)
    histories = Contexts.from_lists([[0, 1, 2, 3], [4]])
    model.begin(TrainingData(histories=histories, n_items=6), CONTEXT)
    targets, shares = model._targets(np.array([0, 1, 3, 5]))
    assert targets.tolist() == [[0, 1, 2], [1, 2, 3], [3, 3, 3], [4, 4, 4]]
    assert shares.tolist() == pytest.approx(np.array([[1 / 3] * 3, [1 / 3] * 3, [1, 0, 0], [1, 0, 0]]))


@pytest.mark.parametrize("parameters", [{}, {"targets": 2}, {"loss": "sampled_softmax", "negatives": 5}])
def test_it_learns_what_follows_what(parameters: dict[str, object]) -> None:
    cycles = [[(start + step) % 6 for step in range(9)] for start in range(6)] * 4
    model = trained(cycles, 6, **parameters)
    best = model.score(Contexts.from_lists([[3], [4, 5], [2, 3, 4, 5, 0, 1]])).topk(2).indices
    follows = [{4, 5}, {0, 1}, {2, 3}] if parameters.get("targets") == 2 else [{4}, {0}, {2}]
    assert all(item in wanted for item, wanted in zip(best[:, 0].tolist(), follows, strict=True))


def test_order_matters_within_the_picture_and_old_events_only_as_a_set() -> None:
    model = trained([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]], 4, history=5, epochs=3)
    scores = model.score(Contexts.from_lists([[0, 1, 3, 2, 1], [1, 0, 3, 2, 1], [0, 1, 1, 2, 3], [3, 0, 1, 3, 2, 1]]))
    torch.testing.assert_close(scores[0], scores[1])
    torch.testing.assert_close(scores[0], scores[3])
    assert not torch.allclose(scores[0], scores[2], atol=1e-4)


def test_an_empty_history_is_answered_with_what_people_begin_with() -> None:
    model = trained([[2, 0, 1], [2, 1, 0], [2, 0, 1]] * 5, 4)
    assert model.score(Contexts.from_lists([[]]))[0].argmax().item() == 2
