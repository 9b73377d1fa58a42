import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.recvae import RecVAE, RecVAEConfig, normal_log_density

QUICK = {"dim": 8, "hidden": 16, "layers": 3, "batch_size": 16, "learning_rate": 0.02, "epochs": 4}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = Contexts.from_lists([[0, 1, 3, 0], [], [1, 2], [2, 0, 4], [4]])


def begun(**parameters: object) -> RecVAE:
    model = RecVAE(RecVAEConfig.model_validate({"dim": 2, "hidden": 5, "batch_size": 2} | parameters), 6)
    model.begin(TrainingData(histories=HISTORIES, n_items=6), CONTEXT)
    return model


def test_the_density_is_that_of_the_normal_distribution() -> None:
    value, mean, log_variance = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    wanted = torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(value)
    torch.testing.assert_close(normal_log_density(value, mean, log_variance), wanted)


def test_scores_are_the_products_of_mean_code_and_items() -> None:
    model = begun(layers=3)
    encoder = model.network.encoder
    rows = torch.from_numpy(HISTORIES.matrix(6).toarray())
    unit = rows / rows.sum(dim=1, keepdim=True).clamp(min=1).sqrt()

    def norm(states: torch.Tensor) -> torch.Tensor:
        swished = states * states.sigmoid()
        return torch.nn.functional.layer_norm(swished, (5,))

    second, third = (layer.weight for layer in encoder.rest)
    one = norm(unit @ encoder.first.weight)
    two = norm(one @ second.T + one)
    three = norm(two @ third.T + one + two)
    mean = three @ encoder.code.weight[:2].T
    wanted = mean @ model.network.decoder.items.T
    torch.testing.assert_close(model.score(HISTORIES), wanted.detach(), rtol=1e-4, atol=1e-6)


def test_the_prior_is_a_mixture_in_each_dimension() -> None:
    model = begun()
    model._former = model.network.encoder
    bags = model._people.all(torch.device("cpu"))
    with torch.no_grad():
        mean, log_variance = model.network.encoder(bags, whole=True)
        code = mean + 0.3
        parts = [(0.15, torch.zeros(4, 2), torch.zeros(4, 2)), (0.75, mean, log_variance)]
        parts.append((0.1, torch.zeros(4, 2), torch.full((4, 2), 10.0)))
        densities = [
            share * torch.distributions.Normal(middle, (variance / 2).exp()).log_prob(code).exp()
            for share, middle, variance in parts
        ]
        torch.testing.assert_close(model._prior(bags, code), torch.stack(densities).sum(dim=0).log())


def test_the_divergence_counts_with_the_length_of_the_history() -> None:
    losses = []
    for beta in (0.0, 0.5):
        model = begun(dropout=0.0, beta=beta)
        model._former = model.network.encoder
        losses.append(model.loss(np.array([0, 1]), torch.Generator().manual_seed(4)).item())
    model._let_learn(model.network.encoder)
    bags = model._people.batch(np.array([0, 1]), torch.device("cpu"))
    with torch.no_grad():
        mean, log_variance = model.network.encoder(bags)
        noise = torch.randn(3, 2, generator=torch.Generator().manual_seed(4))[:2]
        code = mean + noise * (log_variance / 2).exp()
        ratio = normal_log_density(code, mean, log_variance) - model._prior(bags, code)
    wanted = 0.5 * (3 * ratio[0].sum() + 2 * ratio[1].sum()) / 3
    assert losses[1] - losses[0] == pytest.approx(wanted.item(), rel=1e-4)


def test_a_round_changes_the_encoder_and_then_the_decoder_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = begun(encoder_passes=2)
    learns = []
    whole = model.loss

    def watched(rows: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        parts = (model.network.encoder, model.network.decoder)
        learns.append(tuple(all(weight.requires_grad for weight in part.parameters()) for part in parts))
        return whole(rows, generator)

    monkeypatch.setattr(model, "loss", watched)
    first = {name: tensor.clone() for name, tensor in model.tensors().items()}
    model.advance(CONTEXT)
    assert learns == [(True, False)] * 4 + [(False, True)] * 2
    assert all(not torch.equal(tensor, first[name]) for name, tensor in model.tensors().items())
    former = model._former.state_dict()
    assert all(torch.equal(former[name], first[f"encoder.{name}"]) for name in former)
    assert not any(name.startswith("former") for name in model.tensors())


def test_nothing_is_hidden_while_the_decoder_learns() -> None:
    model = begun(dropout=0.9)
    model.network.train()
    model._let_learn(model.network.decoder)
    losses = {model.loss(np.array([0, 1]), torch.Generator().manual_seed(4)).item() for _ in range(10)}
    assert len(losses) == 1


def test_similarity_is_the_cosine_of_the_items_vectors() -> None:
    model = begun()
    vectors = torch.nn.functional.normalize(model.network.decoder.items.detach(), dim=1)
    torch.testing.assert_close(model.similar([1, 4]), vectors[[1, 4]] @ vectors.T)
