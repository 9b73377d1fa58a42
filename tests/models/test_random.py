import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.random import Random, RandomConfig

QUICK: dict[str, object] = {}


def scores(histories: list[list[int]], seed: int) -> torch.Tensor:
    model = Random(RandomConfig(), 5)
    data = TrainingData(histories=Contexts.from_lists(histories), n_items=5)
    model.fit(data, FitContext(device=torch.device("cpu"), seed=seed))
    return model.score(Contexts.from_lists([[0, 1], [], [4]]))


def test_scores_follow_from_the_seed_alone() -> None:
    expected = torch.rand(5, generator=torch.Generator().manual_seed(6))
    assert torch.equal(scores([[0, 1], [3]], seed=6), expected.expand(3, 5))
    assert torch.equal(scores([[]], seed=6), expected.expand(3, 5))


def test_another_seed_gives_another_order() -> None:
    assert scores([[0]], seed=1)[0].argsort().tolist() != scores([[0]], seed=2)[0].argsort().tolist()


def test_scores_are_spread_over_zero_to_one() -> None:
    model = Random(RandomConfig(), 4000)
    histories = Contexts.from_lists([[]])
    model.fit(TrainingData(histories=histories, n_items=4000), FitContext(device=torch.device("cpu"), seed=1))
    drawn = model.score(histories)[0]
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() < 1
    assert abs(drawn.mean().item() - 0.5) < 0.02
