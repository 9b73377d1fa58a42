import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.bpr import BPR, BPRConfig

QUICK = {"dim": 16, "batch_size": 16, "learning_rate": 0.02, "epochs": 20}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)


def begun(histories: list[list[int]], n_items: int, **parameters: object) -> BPR:
    model = BPR(BPRConfig.model_validate({"dim": 2, "alpha": 1.0} | parameters), n_items)
    model.begin(TrainingData(histories=Contexts.from_lists(histories), n_items=n_items), CONTEXT)
    return model


def test_the_loss_of_a_person_by_hand() -> None:
    model = begun([[], [0, 1]], 3)
    with torch.no_grad():
        model.network.history.items.weight.copy_(torch.tensor([[1.0, 0], [0, 2], [9, 9]]))
        model.network.items.weight.copy_(torch.tensor([[1.0, 1], [2, 0], [0, 1]]))
        model.network.biases.weight.copy_(torch.tensor([[0.5], [0], [-1]]))
    taken = np.array([0 + 2 + 0.5, 2 + 0 + 0])  # item 0 by the vector of item 1, and the other way round
    other = np.array([2 - 1, 0 - 1])  # item 2 is all that can be drawn
    wanted = np.log1p(np.exp(other - taken)).mean()
    assert model.loss(np.array([0]), torch.Generator().manual_seed(0)).item() == pytest.approx(wanted, rel=1e-5)


def test_scores_by_hand() -> None:
    model = begun([[0, 1], [2]], 3)
    with torch.no_grad():
        model.network.history.items.weight.copy_(torch.tensor([[1.0, 0], [0, 2], [9, 9]]))
        model.network.items.weight.copy_(torch.tensor([[1.0, 1], [2, 0], [0, 1]]))
        model.network.biases.weight.copy_(torch.tensor([[0.5], [0], [-1]]))
    scores = model.score(Contexts.from_lists([[1, 0, 1], []]))
    assert scores.tolist() == [[2, 1, 0], [0.5, 0, -1]]


def test_nobody_is_answered_with_what_many_take() -> None:
    model = BPR(BPRConfig(dim=4, learning_rate=0.05, batch_size=8, epochs=20), 4)
    histories = Contexts.from_lists([[3], [3, 0], [3, 1], [3, 2], [0], [3, 0]])
    model.fit(TrainingData(histories=histories, n_items=4), CONTEXT)
    assert model.score(Contexts.from_lists([[]]))[0].argmax().item() == 3


def test_people_without_events_are_no_examples() -> None:
    data = TrainingData(histories=Contexts.from_lists([[], [0, 1], []]), n_items=3)
    assert BPR(BPRConfig(), 3).prepare(data, CONTEXT) == 1
