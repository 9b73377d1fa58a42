import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.multdae import MultDAE, MultDAEConfig

QUICK = {"dim": 16, "batch_size": 16, "learning_rate": 0.02, "epochs": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = Contexts.from_lists([[0, 1, 3, 0], [], [1, 2], [2, 0, 4], [4]])


def begun(**parameters: object) -> MultDAE:
    model = MultDAE(MultDAEConfig.model_validate({"dim": 3, "hidden": 4} | parameters), 6)
    model.begin(TrainingData(histories=HISTORIES, n_items=6), CONTEXT)
    return model


def by_hand(model: MultDAE, rows: torch.Tensor) -> torch.Tensor:
    """Logits of the matrix `rows` of ones and zeros, whose empty rows stay empty; no hidden layers."""
    network = model.network
    unit = rows / rows.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
    code = (unit @ network.encoder.first.weight + network.encoder.first.bias).tanh()
    return code @ network.decoder.items.T + network.decoder.bias


def test_scores_are_the_logits_of_the_normalised_history() -> None:
    model = begun()
    rows = torch.from_numpy(HISTORIES.matrix(6).toarray())
    torch.testing.assert_close(model.score(HISTORIES), by_hand(model, rows).detach())


def test_the_loss_is_the_likelihood_of_each_history_and_of_their_average_for_nobody() -> None:
    model = begun(dropout=0.0)
    rows = torch.tensor([[1.0, 1, 0, 1, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    logs = by_hand(model, rows).log_softmax(dim=1)
    targets = torch.cat([rows[:2], rows[:2].mean(dim=0, keepdim=True)])
    wanted = -(targets * logs).sum() / 3
    found = model.loss(np.array([0, 1]), torch.Generator())
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_dropout_hides_items_in_training_alone() -> None:
    model = begun(dropout=0.9)
    model.network.train()
    losses = {model.loss(np.array([0, 1]), torch.Generator()).item() for _ in range(20)}
    assert len(losses) > 1
    model.network.eval()
    assert torch.equal(model.score(HISTORIES), model.score(HISTORIES))


def test_people_without_events_are_no_examples_and_repeats_count_once() -> None:
    model = begun()
    assert len(model._people) == 4
    assert torch.equal(model.score(Contexts.from_lists([[0, 1, 3, 0]])), model.score(Contexts.from_lists([[3, 0, 1]])))


def test_an_empty_history_learns_what_people_take() -> None:
    model = MultDAE(MultDAEConfig(dim=8, learning_rate=0.05, epochs=60, weight_decay=0), 4)
    histories = Contexts.from_lists([[0, 2]] * 6 + [[2, 1]] * 3)
    model.fit(TrainingData(histories=histories, n_items=4), CONTEXT)
    shares = model.score(Contexts.from_lists([[]]))[0].softmax(dim=0)
    torch.testing.assert_close(shares, torch.tensor([6, 3, 9, 0]) / 18, atol=0.05, rtol=0)


@pytest.mark.parametrize("layers", [0, 2])
def test_layers_stand_on_both_sides_of_the_code(layers: int) -> None:
    network = begun(layers=layers).network
    assert len(network.encoder.rest) == len(network.decoder.hidden) == layers
    assert network.decoder.items.shape == (6, 4 if layers else 3)
    assert network.encoder.first.weight.shape == (6, 4 if layers else 3)


def test_items_are_alike_by_their_vectors_and_not_by_their_biases() -> None:
    model = begun()
    before = model.similar([1, 4])
    with torch.no_grad():
        model.network.decoder.bias += 5
    assert torch.equal(model.similar([1, 4]), before)
