"""What every model that says it can be trained privately must do; one that says so is tested without being named."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from recloop import models
from recloop.models.base import FitContext, Model
from recloop.models.neural import NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.private import Mechanism
from tests.support.planted import N_ITEMS, data, planted, quick

CONTEXT = FitContext(device=torch.device("cpu"), seed=3)
PEOPLE = planted()[:30]
CLIP = 0.7


def untrained(name: str) -> Model:
    kind = models.find(name)
    return kind(kind.Config(**quick(name)), N_ITEMS)


PRIVATE = [name for name in models.names() if untrained(name).no_privacy is None]


def begun(name: str, histories: list[list[int]]) -> NeuralModel:
    """In training mode and with nothing dropped, so that a gradient depends on the data and the generator alone."""
    model = untrained(name)
    assert isinstance(model, NeuralModel)
    model.begin(data(histories), CONTEXT)
    for module in model.network.modules():
        if isinstance(module, Dropout):
            module.share = 0.0
    model.network.train()
    return model


def clipped(model: NeuralModel, people: list[int], max_norm: float = CLIP, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return model.clipped_gradients(np.array(people, dtype=np.int64), max_norm, generator).sums


def norm(parts: list[Tensor]) -> float:
    return torch.stack([part.double().square().sum() for part in parts]).sum().sqrt().item()


@pytest.fixture(params=PRIVATE)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_there_are_some_and_all_others_say_why_not() -> None:
    assert {"multvae", "multdae", "sasrec", "gru4rec"} <= set(PRIVATE)
    assert {"popularity", "ease", "als", "bpr", "recvae"}.isdisjoint(PRIVATE)
    assert all(untrained(name).no_privacy for name in set(models.names()) - set(PRIVATE))


def test_people_with_events_are_counted(name: str) -> None:
    assert begun(name, [[], *PEOPLE, []]).n_people == len(PEOPLE)


def test_nobodys_gradient_is_longer_than_allowed(name: str) -> None:
    model = begun(name, PEOPLE)
    norms = [norm(clipped(model, [person])) for person in range(10)]
    assert max(norms) == pytest.approx(CLIP, rel=1e-4), "nobody was clipped, so nothing is tested"
    unclipped = norm(clipped(model, [4], 1e6))
    assert norm(clipped(model, [4], unclipped * 2)) == pytest.approx(unclipped, rel=1e-5)
    assert norm(clipped(model, [4], unclipped / 2)) == pytest.approx(unclipped / 2, rel=1e-4)


def test_somebodys_gradient_is_the_same_whatever_others_did(name: str) -> None:
    """Popularities, counts and averages of everybody would show here."""
    others = [[5, 5, 5, 3, 2, 1, 0, 20, 21, 22, 23] for _ in PEOPLE[1:]]
    mine, again = (clipped(begun(name, [PEOPLE[0], *rest]), [0]) for rest in (PEOPLE[1:], others))
    for one, other in zip(mine, again, strict=True):
        torch.testing.assert_close(one, other)


def test_without_somebody_the_sum_changes_by_no_more_than_a_clipped_gradient(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes are not noised here: how torch fills a matrix with draws depends on its size, though not on the data."""
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.zeros(shape))
    with_all, without = (clipped(begun(name, people), list(range(len(people)))) for people in (PEOPLE, PEOPLE[:-1]))
    change = norm([one - other for one, other in zip(with_all, without, strict=True)])
    assert 0 < change <= CLIP * (1 + 1e-3)


def test_all_events_of_a_person_count_as_one(name: str) -> None:
    """Somebody with many windows of events is one person, and moves the sum no further than anybody."""
    busy = [*PEOPLE[:5], [item % N_ITEMS for item in range(400)]]
    model = begun(name, busy)
    assert model.n_people == 6
    assert norm(clipped(model, [5])) <= CLIP * (1 + 1e-4)


def test_nobody_drawn_is_no_gradient(name: str) -> None:
    model = begun(name, PEOPLE)
    assert norm(clipped(model, [])) == 0
    assert [part.shape for part in clipped(model, [])] == [one.shape for one in model.network.parameters()]


def test_private_steps_learn_and_noise_moves_the_weights(name: str) -> None:
    def trained(noise: float, passes: int) -> tuple[list[float], dict[str, Tensor]]:
        model = untrained(name)
        assert isinstance(model, NeuralModel)
        how = Mechanism(
            noise_multiplier=noise,
            max_grad_norm=10.0,
            sample_rate=0.5,
            steps=2,
            draws=torch.Generator().manual_seed(1),
        )
        model.begin(data(PEOPLE), CONTEXT)
        losses = [model.advance(replace(CONTEXT, privacy=how)) for _ in range(passes)]
        return losses, {key: tensor.clone() for key, tensor in model.tensors().items()}

    losses, _ = trained(0.0, 6)
    assert losses[-1] < losses[0]
    (_, plain), (_, same), (_, noisy) = trained(0.0, 1), trained(0.0, 1), trained(1.0, 1)
    assert all(torch.equal(tensor, same[key]) for key, tensor in plain.items())
    assert all(not torch.equal(tensor, noisy[key]) for key, tensor in plain.items())
