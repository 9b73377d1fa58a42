from dataclasses import replace

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.gru4rec import GRU4Rec, GRU4RecConfig
from recloop.nn.packing import Packing

QUICK = {"dim": 16, "max_length": 6, "batch_size": 16, "learning_rate": 0.02, "epochs": 12}
CPU = torch.device("cpu")
CONTEXT = FitContext(device=CPU, seed=1)
SMALL = {"dim": 8, "max_length": 4, "dropout": 0.0, "batch_size": 8, "learning_rate": 0.02, "epochs": 25}


def trained(histories: list[list[int]], n_items: int, **parameters: object) -> GRU4Rec:
    model = GRU4Rec(GRU4RecConfig.model_validate(SMALL | parameters), n_items)
    model.fit(TrainingData(histories=Contexts.from_lists(histories), n_items=n_items), CONTEXT)
    return model


def set_by_hand(model: GRU4Rec, **weights: list[list[float]] | list[float]) -> None:
    tensors = {name: torch.zeros_like(tensor) for name, tensor in model.tensors().items()}
    tensors |= {name.replace("__", "."): torch.tensor(value) for name, value in weights.items()}
    model.load_tensors(tensors)


def test_scores_by_hand() -> None:
    model = trained([[0, 1]], 2, cell="rnn", dim=1, epochs=1)
    set_by_hand(
        model,
        items__weight=[[1.0], [-2.0], [0.5]],
        recurrence__cells__weight_ih_l0=[[0.3]],
        recurrence__cells__weight_hh_l0=[[0.7]],
        project__weight=[[2.0]],
        project__bias=[0.1],
    )
    start = np.tanh(0.3 * 0.5)
    then = np.tanh(0.3 * -2 + 0.7 * start)
    expected = [[(2 * state + 0.1) * item for item in (1, -2)] for state in (start, then)]
    np.testing.assert_allclose(model.score(Contexts.from_lists([[], [1]])).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax"])
def test_it_learns_what_follows_what(cell: str, loss: str) -> None:
    cycles = [[(start + step) % 6 for step in range(9)] for start in range(6)] * 4
    model = trained(cycles, 6, cell=cell, loss=loss, negatives=5)
    best = model.score(Contexts.from_lists([[3], [4, 5], [2, 3, 4, 5, 0, 1]])).argmax(dim=1)
    assert best.tolist() == [4, 0, 2]


def test_an_event_further_back_decides() -> None:
    # after 4, 5 comes whichever of 0 and 1 came before
    model = trained([[0, 4, 5, 0], [1, 4, 5, 1]] * 12, 6, max_length=5, epochs=40)
    assert model.score(Contexts.from_lists([[0, 4, 5], [1, 4, 5]]))[:, :2].argmax(dim=1).tolist() == [0, 1]


def test_only_the_newest_events_matter() -> None:
    model = trained([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]], 4, epochs=3)
    scores = model.score(Contexts.from_lists([[2, 2, 2, 3, 0, 1, 2], [3, 0, 1, 2], [0, 3, 1, 2]]))
    torch.testing.assert_close(scores[0], scores[1])
    assert not torch.allclose(scores[1], scores[2], atol=1e-4)


def test_an_empty_history_is_answered_with_what_people_begin_with() -> None:
    model = trained([[2, 0, 1], [2, 1, 0], [2, 0, 1]] * 5, 4)
    assert model.score(Contexts.from_lists([[]]))[0].argmax().item() == 2


def test_padding_changes_no_state() -> None:
    network = trained([[0, 1, 2]], 3, epochs=1, layers=2).network
    short = network(torch.tensor([3, 0]), Packing(np.array([2]), CPU))
    padded = network(torch.tensor([3, 0, 3, 1, 2, 0, 1]), Packing(np.array([2, 5]), CPU))
    torch.testing.assert_close(padded[:2], short)


def test_events_without_order_are_refused() -> None:
    histories = Contexts.from_lists([[0, 1], [1, 2]])
    unordered = replace(histories, timestamps=np.zeros(4, dtype=np.int64))
    with pytest.raises(ModelError, match="gru4rec needs the order of events"):
        GRU4Rec(GRU4RecConfig(), 3).begin(TrainingData(histories=unordered, n_items=3), CONTEXT)


def test_weights_of_another_cell_are_refused() -> None:
    tensors = trained([[0, 1]], 2, epochs=1).tensors()
    with pytest.raises(
        ModelError, match=r"'recurrence.cells.weight_ih_l0' of gru4rec has shape \(24, 8\), not \(32, 8"
    ):
        GRU4Rec(GRU4RecConfig.model_validate(SMALL | {"cell": "lstm"}), 2).load_tensors(tensors)
