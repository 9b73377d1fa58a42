import math

import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.simgcl import SimGCL, SimGCLConfig, contrast_loss, noisy

QUICK = {"dim": 16, "batch_size": 32, "learning_rate": 0.05, "epochs": 15}


def test_noise_has_its_length_and_turns_no_sign() -> None:
    vectors = torch.tensor([[1.0, -2, 0.5], [-0.1, -0.1, 3]])
    moved = noisy(vectors, 0.25, torch.Generator().manual_seed(0))
    torch.testing.assert_close((moved - vectors).norm(dim=1), torch.full((2,), 0.25))
    assert torch.equal(moved.sign(), vectors.sign())
    assert torch.equal(noisy(vectors, 0.0, torch.Generator().manual_seed(0)), vectors)


def test_views_of_one_thing_should_be_alike_and_of_two_not() -> None:
    first, second = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[3.0, 0], [1, 1]])
    root = 1 / math.sqrt(2)
    rows = [math.log(math.exp(2) + math.exp(2 * root)) - 2, math.log(1 + math.exp(2 * root)) - 2 * root]
    assert contrast_loss(first, second, 0.5).item() == pytest.approx(sum(rows) / 2)
    assert contrast_loss(first[:0], second[:0], 0.5).item() == 0


def fitted(**parameters: object) -> SimGCL:
    model = SimGCL(SimGCLConfig.model_validate({"dim": 4, "epochs": 3, "batch_size": 2} | parameters), 5)
    histories = Contexts.from_lists([[0, 1, 2], [1, 3, 4], [2, 0], []])
    model.fit(TrainingData(histories=histories, n_items=5), FitContext(device=torch.device("cpu"), seed=1))
    return model


@pytest.mark.parametrize("change", [{"weight": 0.0}, {"eps": 0.5}, {"temperature": 1.0}])
def test_the_contrast_changes_what_is_learned(change: dict[str, float]) -> None:
    assert not torch.allclose(fitted().item_vectors(), fitted(**change).item_vectors())


def test_scores_are_free_of_noise() -> None:
    model = fitted(eps=5.0)
    kept = model.network.smoothed.clone()
    model.pass_ends()
    assert torch.equal(model.network.smoothed, kept)


def test_drawn_negatives_will_do() -> None:
    assert torch.isfinite(fitted(loss="sampled_softmax", negatives=2).item_vectors()).all()
