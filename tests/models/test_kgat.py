import numpy as np
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.kgat import KGAT, Edges, KGATConfig
from tests.models.test_kgcn import HISTORIES, KNOWLEDGE

QUICK = {"dim": 16, "layers": 1, "batch_size": 32, "kge_batch": 32, "learning_rate": 0.03, "epochs": 10}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)


def trained(**parameters: object) -> KGAT:
    config = KGATConfig.model_validate({"dim": 3, "epochs": 2, "batch_size": 3, "kge_batch": 5} | parameters)
    model = KGAT(config, 4)
    model.fit(TrainingData(histories=HISTORIES, n_items=4, knowledge=KNOWLEDGE), CONTEXT)
    return model


def test_the_graph_holds_triples_and_events_both_ways() -> None:
    edges = Edges.of(KNOWLEDGE, Contexts.from_lists([[1], [], [0]]).matrix(4))
    found = list(zip(edges.heads.tolist(), edges.relations.tolist(), edges.tails.tolist(), strict=True))
    triples = [(0, 0, 4), (0, 1, 5), (1, 1, 5), (4, 0, 6)]
    wanted = triples + [(tail, relation + 2, head) for head, relation, tail in triples]
    wanted += [(1, 4, 7), (0, 4, 9), (7, 5, 1), (9, 5, 0)]
    assert sorted(found) == sorted(wanted)
    assert [head for head, _, _ in found] == sorted(head for head, _, _ in found)
    assert edges.n_nodes == 10


def test_attention_follows_the_definition() -> None:
    model = trained()
    network, nodes = model.network, torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    edges = Edges.of(KNOWLEDGE, HISTORIES.matrix(4))
    with torch.no_grad():
        found = network.attention(edges, nodes).toarray()
    turns, kinds = network.turns.detach().numpy(), network.kinds.detach().numpy()
    wanted = np.zeros((11, 11))
    for head, relation, tail in zip(edges.heads, edges.relations, edges.tails, strict=True):
        turn, vectors = turns[relation], nodes.numpy()
        wanted[head, tail] = np.exp((turn @ vectors[tail]) @ np.tanh(turn @ vectors[head] + kinds[relation]))
    wanted /= np.maximum(wanted.sum(axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)


def test_a_step_follows_the_definition() -> None:
    network = trained(layers=1).network
    own, heard = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    summed, product = network.sums[0](own + heard), network.products[0](own * heard)
    wanted = torch.where(summed > 0, summed, 0.01 * summed) + torch.where(product > 0, product, 0.01 * product)
    torch.testing.assert_close(network._step(0, own, heard), wanted)


def test_a_history_is_answered_like_the_person_in_the_graph() -> None:
    model = trained(layers=3)
    final = torch.cat(model.network.propagate(model._nodes(), model._graph), dim=1).detach()
    people = model.user_vectors(HISTORIES)
    torch.testing.assert_close(people[:3], final[7:10], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(people[3], final[7:].mean(dim=0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.item_vectors(), final[:4])


def test_edges_become_likelier() -> None:
    def gap(model: KGAT) -> float:
        nodes = model._nodes()
        edges, generator = model._edges, torch.Generator().manual_seed(0)
        return model.network.edge_loss(nodes, edges, 500, generator).item()

    assert gap(trained(epochs=40, kge_weight=1.0)) < gap(trained(epochs=40, kge_weight=0.0))
