import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.warp import WARP, WARPConfig

QUICK = {"dim": 16, "batch_size": 16, "learning_rate": 0.02, "epochs": 20, "negatives": 8}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)


def begun(biases: list[float]) -> WARP:
    """One person who took items 0 and 1 of five; vectors are 0, so scores are the biases."""
    model = WARP(WARPConfig(dim=2, negatives=3), 5)
    model.begin(TrainingData(histories=Contexts.from_lists([[0, 1]]), n_items=5), CONTEXT)
    with torch.no_grad():
        model.network.items.weight.zero_()
        model.network.biases.weight.copy_(torch.tensor(biases)[:, None])
    return model


def loss(model: WARP) -> torch.Tensor:
    return model.loss(np.array([0]), torch.Generator().manual_seed(0))


def test_a_violation_at_the_first_try_weighs_most() -> None:
    # All others violate at once: rank 4, weight 1. Margins are 1 - 0 + 2 and 1 - 1 + 2.
    assert loss(begun([0, 1, 2, 2, 2])).item() == pytest.approx((3 + 2) / 2)


def test_no_violation_costs_nothing_and_has_a_gradient() -> None:
    model = begun([5, 5, 0, 0, 0])
    value = loss(model)
    assert value.item() == 0
    value.backward()
    assert model.network.biases.weight.grad is not None
    assert not model.network.biases.weight.grad.any()


def test_a_later_violation_weighs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    model = begun([5, 5, 0, 9, 0])
    drawn = torch.tensor([[2, 3, 4], [4, 2, 3]])
    monkeypatch.setattr("recloop.models.pairwise.untaken", lambda *_: drawn)
    # Tries 2 and 3 of 5 items: ranks 2 and 1, weights 1.5 / 2.0833 and 1 / 2.0833; both margins 1 - 5 + 9.
    assert loss(model).item() == pytest.approx((1.5 + 1) / (25 / 12) * 5 / 2, rel=1e-5)
