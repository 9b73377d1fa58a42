from copy import deepcopy

import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.irgan import IRGAN, IRGANConfig
from recloop.nn.histories import Bags

QUICK = {"dim": 8, "batch_size": 16, "learning_rate": 0.03, "epochs": 10, "pretraining": 8}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = Contexts.from_lists([[0, 1, 3, 0], [], [1, 2], [2, 0, 4], [4]])


def begun(**parameters: object) -> IRGAN:
    model = IRGAN(IRGANConfig.model_validate({"dim": 3, "batch_size": 2, "negatives": 4} | parameters), 6)
    model.begin(TrainingData(histories=HISTORIES, n_items=6), CONTEXT)
    return model


def test_scores_are_the_generators_logits_and_biases_for_nobody() -> None:
    model = begun()
    with torch.no_grad():
        model.network.bias.copy_(torch.arange(6))
    network, scores = model.network, model.score(HISTORIES)
    person = (network.people.items.weight[1] + network.people.items.weight[2]) * 2**-0.5
    wanted = network.items.weight @ person + torch.arange(6)
    torch.testing.assert_close(scores[2], wanted.detach())
    assert scores[1].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_judge_scores_the_pairs_it_is_asked_about() -> None:
    model = begun()
    judge = model._judge
    shown = Bags(offsets=torch.tensor([0, 1, 3]), rows=torch.tensor([0, 1, 1]), items=torch.tensor([5, 0, 2]))
    with torch.no_grad():
        judge.bias.copy_(torch.arange(6))
        found = model._judged_draws(shown, torch.tensor([[3, 4, 5], [0, 1, 3]]))
        vectors = judge.people.items.weight
        people = torch.stack([vectors[5], (vectors[0] + vectors[2]) * 2**-0.5])
        wanted = (people @ judge.items.weight.T + torch.arange(6)).gather(1, torch.tensor([[3, 4, 5], [0, 1, 3]]))
    torch.testing.assert_close(found, wanted)


def test_draws_that_the_judge_takes_for_real_are_rewarded() -> None:
    model = begun(negatives=200, mixture=0.0)
    with torch.no_grad():
        model._judge.bias.copy_(torch.tensor([9.0, -9, -9, -9, -9, -9]))
    nothing = Bags(offsets=torch.zeros(3).long(), rows=torch.zeros(0).long(), items=torch.zeros(0).long())
    targets = model._rewarded(nothing, nothing, torch.zeros(2, 3), torch.Generator().manual_seed(0))
    assert targets.offsets.tolist() == [0, 200, 400]
    first = targets.items == 0
    assert first.any()
    assert (targets.weights[first] > 0).all()
    assert (targets.weights[~first] < 0).all()
    assert targets.weights[:200].sum().item() == pytest.approx(0, abs=1e-5)


def test_the_game_alone_moves_the_generator_to_what_people_choose() -> None:
    config = IRGANConfig(dim=4, pretraining=0, epochs=40, batch_size=4, game_learning_rate=0.03, learning_rate=0.03)
    model = IRGAN(config, 6)
    model.fit(TrainingData(histories=Contexts.from_lists([[0, 2], [2, 0]] * 20), n_items=6), CONTEXT)
    shares = model.score(Contexts.from_lists([[0], []])).softmax(dim=1)
    assert (shares[:, [0, 2]].sum(dim=1) > 0.6).all()


def test_the_judge_learns_before_the_game_and_the_learning_rate_changes_with_it() -> None:
    model = begun(pretraining=1, learning_rate=0.02, game_learning_rate=0.001)
    before = model._judge.bias.detach().clone()
    model.advance(CONTEXT)
    assert not torch.equal(model._judge.bias, before)
    assert model.optimiser.param_groups[0]["lr"] == 0.02
    model.advance(CONTEXT)
    assert model.optimiser.param_groups[0]["lr"] == 0.001


def test_the_game_resumes_exactly() -> None:
    straight, resumed = begun(pretraining=1), begun(pretraining=1)
    losses = [straight.advance(CONTEXT) for _ in range(2)]
    resumed.load_training_state(deepcopy(straight.training_state()))
    assert len(losses) == 2
    assert resumed.advance(CONTEXT) == straight.advance(CONTEXT)
    for key, tensor in straight.tensors().items():
        assert torch.equal(resumed.tensors()[key], tensor), key
    assert torch.equal(resumed._judge.bias, straight._judge.bias)


def test_only_the_generator_is_stored() -> None:
    assert sorted(begun().tensors()) == ["bias", "items.weight", "people.items.weight"]


def test_a_person_with_one_event_can_be_learned_from() -> None:
    model = begun(pretraining=0)
    model.pass_begins(torch.Generator())
    for seed in range(6):
        assert torch.isfinite(model.loss(np.array([3]), torch.Generator().manual_seed(seed)))
