import numpy as np
import pytest
import torch

from recloop import models
from recloop.config import parse
from recloop.data.sequences import Contexts, Examples
from recloop.errors import ConfigError, ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.ensemble import Ensemble, EnsembleConfig, _last_events
from recloop.nn.fusion import reciprocal_ranks, standardised
from tests.support.planted import N_ITEMS, data, planted

QUICK = {"members": ["ease", {"name": "als", "parameters": {"factors": 8, "iterations": 4}}, "item_knn"]}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
ASKED = Contexts.from_lists([[0, 1, 2], [], [9, 17]])
TWO = ["popularity", {"name": "item_knn", "weight": 3, "parameters": {"neighbors": 4}}]


def trained(world: TrainingData, **parameters: object) -> Ensemble:
    model = Ensemble(parse(EnsembleConfig, {"members": TWO} | parameters, "x"), world.n_items)
    model.fit(world, CONTEXT)
    return model


def member(name: str, world: TrainingData, **parameters: object) -> torch.Tensor:
    kind = models.find(name)
    model = kind(kind.Config.model_validate(parameters), world.n_items)
    model.fit(world, CONTEXT)
    return model.score(ASKED)


@pytest.mark.parametrize("method", ["weighted", "reciprocal_rank"])
def test_the_score_is_the_weighted_sum_of_the_members(method: str) -> None:
    world = data(planted())
    parts = member("popularity", world), member("item_knn", world, neighbors=4)
    how = standardised if method == "weighted" else lambda scores: reciprocal_ranks(scores, 7.0)
    wanted = (how(parts[0]) + 3 * how(parts[1])).float()
    torch.testing.assert_close(trained(world, method=method, rank_constant=7).score(ASKED), wanted)


def questions(answers: list[int]) -> Examples:
    histories = Contexts.from_lists([[0, 1], [8, 9], [16, 17]])
    rows = np.arange(3)
    return Examples(
        histories=histories,
        users=rows,
        stops=np.full(3, 2),
        offsets=np.arange(4),
        targets=np.array(answers),
        values=np.ones(3, dtype=np.float32),
    )


def test_stacked_weights_follow_the_validation_part() -> None:
    world = data(planted())
    unlike = TrainingData(histories=world.histories, n_items=N_ITEMS, valid=questions([2, 10, 18]))
    personal = trained(unlike, method="stacked", regularization=0.1)
    popular = member("popularity", world)[0].argsort(descending=True).tolist()
    answer = next(item for item in popular if item not in {0, 1, 8, 9, 16, 17})
    general = TrainingData(histories=world.histories, n_items=N_ITEMS, valid=questions([answer] * 3))
    crowd = trained(general, method="stacked", regularization=0.1)
    assert personal._weights[1] / personal._weights[0].abs() > crowd._weights[1] / crowd._weights[0].abs()
    assert crowd._weights[0] > personal._weights[0]


def test_questions_without_a_known_answer_leave_the_members_weights() -> None:
    valid = questions([-1, -1, -1])
    world = TrainingData(histories=data(planted()).histories, n_items=N_ITEMS, valid=valid)
    assert trained(world, method="stacked")._weights.tolist() == [1.0, 3.0]


def test_without_validation_the_last_events_are_held_out() -> None:
    earlier, asked = _last_events(Contexts.from_lists([[3, 1, 2], [], [4], [0, 4]]))
    assert earlier.offsets.tolist() == [0, 2, 2, 3, 4]
    assert earlier.items.tolist() == [3, 1, 4, 0]
    assert asked.contexts(0, 2).items.tolist() == [3, 1, 0]
    assert asked.targets.tolist() == [2, 4]
    world = data(planted())
    model = trained(world, method="stacked")
    assert model._weights.tolist() != [1.0, 3.0]
    torch.testing.assert_close(model._members[0].score(ASKED), member("popularity", world))


def test_two_members_may_share_a_name() -> None:
    twice = [{"name": "item_knn", "parameters": {"neighbors": count}} for count in (1, 9)]
    model = trained(data(planted()), members=twice)
    again = Ensemble(model.config, N_ITEMS)
    again.load_tensors(model.tensors())
    assert torch.equal(again.score(ASKED), model.score(ASKED))


def test_members_must_exist_and_have_known_parameters() -> None:
    with pytest.raises(ModelError, match="There is no model 'eas'"):
        Ensemble(parse(EnsembleConfig, {"members": ["eas"]}, "x"), 3)
    with pytest.raises(ModelError, match="cannot be a member of an ensemble"):
        Ensemble(parse(EnsembleConfig, {"members": ["ensemble"]}, "x"), 3)
    wrong = parse(EnsembleConfig, {"members": [{"name": "ease", "parameters": {"ridge": 1}}]}, "x")
    with pytest.raises(ConfigError, match=r"ensemble: members\.0\.parameters\.ridge is not a known parameter"):
        Ensemble(wrong, 3)


def test_a_member_whose_needs_are_not_met_is_named_before_training() -> None:
    world = TrainingData(histories=Contexts.from_lists([[0, 1]] * 3), n_items=2)
    still = Contexts(**{**vars(world.histories), "timestamps": np.zeros(6, dtype=np.int64)})
    with pytest.raises(ModelError, match="sasrec needs the order of events"):
        trained(TrainingData(histories=still, n_items=2), members=["ease", "sasrec"])
