import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.multvae import MultVAE, MultVAEConfig

QUICK = {"dim": 8, "hidden": 16, "batch_size": 16, "learning_rate": 0.02, "epochs": 12, "annealing": 12}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = Contexts.from_lists([[0, 1, 3, 0], [], [1, 2], [2, 0, 4], [4]])


def begun(**parameters: object) -> MultVAE:
    model = MultVAE(MultVAEConfig.model_validate({"dim": 2, "hidden": 5, "batch_size": 2} | parameters), 6)
    model.begin(TrainingData(histories=HISTORIES, n_items=6), CONTEXT)
    return model


def encoded(model: MultVAE, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of the codes of `rows`, ones and zeros, by hand; all biases are 0 at first."""
    first, second = model.network.encoder.first, model.network.encoder.rest[0]
    unit = rows / rows.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
    assert isinstance(second, torch.nn.Linear)
    codes = (unit @ first.weight).tanh() @ second.weight.T
    return codes[:, :2], (codes[:, 2:] / 2).exp()


def decoded(model: MultVAE, codes: torch.Tensor) -> torch.Tensor:
    hidden = model.network.decoder.hidden[0]
    assert isinstance(hidden, torch.nn.Linear)
    return (codes @ hidden.weight.T).tanh() @ model.network.decoder.items.T


def test_scores_are_decoded_from_the_mean() -> None:
    model = begun()
    mean, _ = encoded(model, torch.from_numpy(HISTORIES.matrix(6).toarray()))
    torch.testing.assert_close(model.score(HISTORIES), decoded(model, mean).detach())


def test_the_loss_is_the_evidence_bound() -> None:
    model = begun(dropout=0.0, beta=0.7, annealing=0)
    rows = torch.tensor([[1.0, 1, 0, 1, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    mean, deviation = encoded(model, rows)
    noise = torch.randn(3, 2, generator=torch.Generator().manual_seed(4))
    logs = decoded(model, mean + noise * deviation).log_softmax(dim=1)
    targets = torch.cat([rows[:2], rows[:2].mean(dim=0, keepdim=True)])
    normal = torch.distributions.Normal(mean, deviation)
    divergence = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum()
    wanted = (-(targets * logs).sum() + 0.7 * divergence) / 3
    model.pass_begins(torch.Generator())
    found = model.loss(np.array([0, 1]), torch.Generator().manual_seed(4))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_the_weight_of_the_divergence_grows_step_by_step_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    model = begun(beta=0.4, annealing=2, batch_size=2)
    weights, weight = [], model._weight
    monkeypatch.setattr(model, "_weight", lambda: weights.append(weight()) or weights[-1])
    for _ in range(3):
        model.advance(CONTEXT)
    assert weights == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4])


def test_without_annealing_the_weight_is_there_at_once() -> None:
    assert begun(beta=0.4, annealing=0)._weight() == 0.4


def test_an_empty_history_learns_what_people_take() -> None:
    config = MultVAEConfig(dim=4, hidden=8, learning_rate=0.03, epochs=80)
    model = MultVAE(config, 4)
    model.fit(TrainingData(histories=Contexts.from_lists([[0, 2]] * 6 + [[2, 1]] * 3), n_items=4), CONTEXT)
    shares = model.score(Contexts.from_lists([[]]))[0].softmax(dim=0)
    torch.testing.assert_close(shares, torch.tensor([6, 3, 9, 0]) / 18, atol=0.06, rtol=0)


def test_similarity_is_the_cosine_of_the_items_vectors() -> None:
    model = begun()
    vectors = torch.nn.functional.normalize(model.network.decoder.items.detach(), dim=1)
    torch.testing.assert_close(model.similar([1, 4]), vectors[[1, 4]] @ vectors.T)
