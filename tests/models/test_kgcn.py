from itertools import product

import numpy as np
import pytest
import torch

from recloop.data.knowledge import Knowledge
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models import kgcn
from recloop.models.base import FitContext, TrainingData
from recloop.models.kgcn import KGCN, KGCNConfig

QUICK = {"dim": 16, "neighbors": 3, "batch_size": 32, "learning_rate": 0.03, "epochs": 15}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
KNOWLEDGE = Knowledge(
    heads=np.array([0, 0, 1, 4]),
    relations=np.array([0, 1, 1, 0]),
    tails=np.array([4, 5, 5, 6]),
    n_items=4,
    n_entities=7,
    n_relations=2,
)
HISTORIES = Contexts.from_lists([[0, 1], [2], [3, 0, 1], []])


def trained(**parameters: object) -> KGCN:
    config = KGCNConfig.model_validate({"dim": 3, "neighbors": 2, "epochs": 2, "batch_size": 3} | parameters)
    model = KGCN(config, 4)
    model.fit(TrainingData(histories=HISTORIES, n_items=4, knowledge=KNOWLEDGE), CONTEXT)
    return model


def by_hand(model: KGCN, person: np.ndarray, entity: int, layers: int) -> np.ndarray:
    """The vector of an entity after `layers` layers, as the paper defines it, for one person."""
    network = model.network
    if not layers:
        return network.entities.weight[entity].detach().numpy()
    near, kinds = network.neighbours[entity].tolist(), network.relations[entity].tolist()
    care = np.exp([person @ network.kinds.weight[kind].detach().numpy() for kind in kinds])
    around = sum(
        share * by_hand(model, person, other, layers - 1) for share, other in zip(care / care.sum(), near, strict=True)
    )
    mixed = network.mix[layers - 1].detach().numpy() @ (by_hand(model, person, entity, layers - 1) + around)
    mixed = mixed + network.shift[layers - 1].detach().numpy()
    return np.tanh(mixed) if layers == model.config.layers else np.maximum(mixed, 0)


@pytest.mark.parametrize("layers", [1, 2])
def test_scores_follow_the_definition(layers: int) -> None:
    model = trained(layers=layers)
    scores = model.score(HISTORIES).numpy()
    for row, history in ((0, [0, 1]), (1, [2]), (2, [0, 1, 3])):
        person = model.network.people.items.weight[history].sum(dim=0).detach().numpy() / len(history) ** 0.5
        for item in range(4):
            wanted = person @ by_hand(model, person, item, layers) + model.network.bias.weight[item].item()
            assert scores[row, item] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_nobody_gets_what_is_popular() -> None:
    assert trained().score(Contexts.from_lists([[]]))[0].tolist() == [2, 2, 1, 1]


def test_own_candidates_score_like_shared_ones() -> None:
    network = trained(layers=2).network
    people, shared = torch.randn(3, 3), torch.tensor([[2, 0, 1, 3]])
    torch.testing.assert_close(network(people, shared.expand(3, -1)), network(people, shared))


def test_small_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    whole = model.score(HISTORIES)
    monkeypatch.setattr(kgcn, "_CHUNK", 9)
    torch.testing.assert_close(model.score(HISTORIES), whole)


def test_it_learns_from_the_graph_alone() -> None:
    """Two items that nobody took together, told apart by an entity that one shares with the history."""
    ends = [(item, 6 + item % 2) for item in range(6)]
    knowledge = Knowledge(
        heads=np.array([head for head, _ in ends]),
        relations=np.zeros(6, dtype=np.int64),
        tails=np.array([tail for _, tail in ends]),
        n_items=6,
        n_entities=8,
        n_relations=1,
    )
    pairs = [[first, second] for first, second in product(range(6), repeat=2) if first % 2 == second % 2]
    kept = [pair for pair in pairs if pair[0] < pair[1] and pair not in ([0, 4], [1, 5])] * 20
    config = KGCNConfig(dim=8, neighbors=1, epochs=60, batch_size=16, learning_rate=0.02, hidden=0.5)
    model = KGCN(config, 6)
    model.fit(TrainingData(histories=Contexts.from_lists(kept), n_items=6, knowledge=knowledge), CONTEXT)
    scores = model.score(Contexts.from_lists([[0], [1]]))
    assert scores[0, 4] > scores[0, 5]
    assert scores[1, 5] > scores[1, 4]


def test_without_knowledge_it_says_what_it_lacks() -> None:
    with pytest.raises(ModelError) as error:
        KGCN(KGCNConfig(), 4).fit(TrainingData(histories=HISTORIES, n_items=4), CONTEXT)
    assert str(error.value) == (
        "kgcn needs triples about items of the catalogue; add it to the table 'knowledge' or leave the model out."
    )
