import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models import ripplenet
from recloop.models.base import FitContext, TrainingData
from recloop.models.ripplenet import RippleNet, RippleNetConfig, by_person, spread
from recloop.nn.histories import BagStore
from tests.models.test_kgcn import HISTORIES, KNOWLEDGE

QUICK = {"dim": 16, "walks": 2, "ripple_size": 8, "batch_size": 32, "learning_rate": 0.05, "epochs": 8}
CPU = torch.device("cpu")


def trained(**parameters: object) -> RippleNet:
    small = {"dim": 3, "walks": 2, "ripple_size": 20, "epochs": 2, "batch_size": 3}
    model = RippleNet(RippleNetConfig.model_validate(small | parameters), 4)
    data = TrainingData(histories=HISTORIES, n_items=4, knowledge=KNOWLEDGE)
    model.fit(data, FitContext(device=CPU, seed=1))
    return model


def by_hand(model: RippleNet, history: list[int], item: int) -> float:
    network = model.network
    vectors, kinds = network.entities.weight.detach().numpy(), network.kinds.detach().numpy()
    hops = [[(entity, len(kinds) - 1, entity) for entity in history]]
    for hop in range(model.config.hops):
        triples = []
        for entity in history:
            heads, tails = network.walks[entity, hop].tolist(), network.walks[entity, hop + 1].tolist()
            triples += zip(heads, network.relations[entity, hop].tolist(), tails, strict=True)
        hops.append(triples)
    query, person = vectors[item], np.zeros(3)
    for triples in hops:
        share = np.exp([query @ kinds[relation] @ vectors[head] for head, relation, _ in triples])
        answer = sum(part * vectors[tail] for part, (_, _, tail) in zip(share / share.sum(), triples, strict=True))
        query, person = query + answer, person + answer
    return person @ vectors[item] + network.bias.weight[item].item()


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_scores_follow_the_definition(hops: int) -> None:
    model = trained(hops=hops)
    scores = model.score(HISTORIES)
    for row, history in ((0, [0, 1]), (1, [2]), (2, [0, 1, 3])):
        for item in range(4):
            assert scores[row, item].item() == pytest.approx(by_hand(model, history, item), rel=1e-4, abs=1e-6)


def test_walks_follow_triples() -> None:
    network = trained(hops=3, walks=4).network
    ends = zip(KNOWLEDGE.heads, KNOWLEDGE.relations, KNOWLEDGE.tails, strict=True)
    steps = {(int(head), int(relation), int(tail)) for head, relation, tail in ends}
    steps |= {(tail, relation, head) for head, relation, tail in steps}
    steps |= {(alone, 2, alone) for alone in (2, 3)}
    for item in range(4):
        assert network.walks[item, 0].tolist() == [item] * 4
        for hop in range(3):
            columns = network.walks[item, hop], network.relations[item, hop], network.walks[item, hop + 1]
            assert set(zip(*(column.tolist() for column in columns), strict=True)) <= steps


def test_long_histories_are_thinned_evenly() -> None:
    bags = BagStore(Contexts.from_lists([[0, 1, 2, 3, 4, 5], [], [7]]).matrix(8)).all(CPU)
    items, copies, present = spread(bags, 2, 4)
    assert items[0].tolist() == [0, 1, 3, 4]
    assert copies[0].tolist() == [0, 1, 0, 1]
    assert items[2, :2].tolist() == [7, 7]
    assert copies[2, :2].tolist() == [0, 1]
    assert present.int().tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]
    nothing = spread(BagStore(Contexts.from_lists([[], []]).matrix(8)).all(CPU), 2, 4)
    assert not nothing[2].any()


def test_items_stand_in_the_row_of_their_person() -> None:
    table, places = by_person(torch.tensor([0, 0, 2, 2, 2]), torch.tensor([5, 6, 7, 8, 9]), 4)
    assert table.tolist() == [[5, 6, 0], [0, 0, 0], [7, 8, 9], [0, 0, 0]]
    assert table.flatten()[places].tolist() == [5, 6, 7, 8, 9]
    assert by_person(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), 2)[0].shape == (2, 1)


def test_nobody_gets_what_is_popular() -> None:
    assert trained().score(Contexts.from_lists([[]]))[0].tolist() == [2, 2, 1, 1]


def test_small_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    whole = model.score(HISTORIES)
    monkeypatch.setattr(ripplenet, "_CHUNK", 25)
    torch.testing.assert_close(model.score(HISTORIES), whole)
