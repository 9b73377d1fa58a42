import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.lightgcn import LightGCN, LightGCNConfig
from recloop.nn.graph import symmetric
from tests.support.planted import contexts, data, planted

QUICK = {"dim": 16, "batch_size": 32, "learning_rate": 0.05, "epochs": 15}
CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
HISTORIES = Contexts.from_lists([[0, 1], [1, 2, 3], [], [3]])


def trained(**parameters: object) -> LightGCN:
    model = LightGCN(LightGCNConfig.model_validate({"dim": 3, "epochs": 3, "batch_size": 2} | parameters), 6)
    model.fit(TrainingData(histories=HISTORIES, n_items=6), CONTEXT)
    return model


def test_scores_are_those_of_the_papers_graph_without_vectors_of_people() -> None:
    """Three steps on the graph of people and items, people starting at zero, against the closed form."""
    model = trained()
    start = model.network.items.detach().double().numpy()
    between = symmetric(HISTORIES.matrix(6)).toarray().astype(np.float64)
    both = np.block([[np.zeros((4, 4)), between], [between.T, np.zeros((6, 6))]])
    layers = [np.concatenate([np.zeros((4, 3)), start])]
    for _ in range(3):
        layers.append(both @ layers[-1])
    people, items = np.split(sum(layers) / 2, [4])
    scores = model.score(HISTORIES).numpy()
    np.testing.assert_allclose(scores[[0, 1, 3]], (people @ items.T)[[0, 1, 3]], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores[2], people.mean(axis=0) @ items.T, rtol=1e-4, atol=1e-6)


def test_an_item_nobody_took_keeps_its_own_vector() -> None:
    model = trained()
    torch.testing.assert_close(model.item_vectors()[5], model.network.items[5].detach() / 2)


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "bpr"])
def test_every_loss_tells_clusters_apart(loss: str) -> None:
    model = LightGCN(LightGCNConfig.model_validate(QUICK | {"loss": loss, "negatives": 10}), 24)
    model.fit(data(planted()), CONTEXT)
    means = model.score(contexts([[8, 9, 10], [16, 17, 18]])).view(2, 3, 8).mean(dim=2)
    assert means.argmax(dim=1).tolist() == [1, 2]


def test_without_layers_items_are_what_was_learned() -> None:
    model = trained(layers=0)
    assert torch.equal(model.item_vectors(), model.network.items.detach())


def test_it_refuses_to_hide_everything() -> None:
    with pytest.raises(ValueError, match="hidden"):
        LightGCNConfig(hidden=1)
