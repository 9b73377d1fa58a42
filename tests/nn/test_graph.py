import numpy as np
import pytest
import torch
from scipy import sparse

from recloop.data.knowledge import Knowledge
from recloop.data.sequences import Contexts
from recloop.nn.graph import SmoothedItems, SparseProduct, sampled_neighbours, scales, symmetric
from recloop.nn.histories import BagStore

CPU = torch.device("cpu")
TAKEN = Contexts.from_lists([[0, 1], [1, 2, 3], []]).matrix(5)
NORMALISED = np.array(
    [
        [1 / np.sqrt(2 * 1), 1 / np.sqrt(2 * 2), 0, 0, 0],
        [0, 1 / np.sqrt(3 * 2), 1 / np.sqrt(3 * 1), 1 / np.sqrt(3 * 1), 0],
        [0, 0, 0, 0, 0],
    ]
)


def test_a_sparse_product_and_its_gradient_are_those_of_the_dense_one() -> None:
    matrix = sparse.csr_matrix(np.array([[0, 2, 0], [1, 0, -3]], dtype=np.float32))
    dense = torch.tensor([[1.0, 2], [3, 4], [5, 6]], requires_grad=True)
    product = SparseProduct.of(matrix, CPU) @ dense
    assert product.tolist() == [[6, 8], [-14, -16]]
    (product * torch.tensor([[1.0, 10], [100, 1000]])).sum().backward()
    assert dense.grad is not None
    assert dense.grad.tolist() == [[100, 1000], [2, 20], [-300, -3000]]
    back = SparseProduct.of(matrix, CPU).transposed() @ torch.eye(2)
    assert back.tolist() == [[0, 1], [2, 0], [0, -3]]


def test_events_count_less_where_either_end_has_many() -> None:
    np.testing.assert_allclose(symmetric(TAKEN).toarray(), NORMALISED, rtol=1e-6)
    np.testing.assert_allclose(scales(TAKEN).numpy(), [1, 1 / np.sqrt(2), 1, 1, 1], rtol=1e-6)


def smoothed(layers: int) -> SmoothedItems:
    items = SmoothedItems(5, 2, layers)
    with torch.no_grad():
        items.items.copy_(torch.arange(10.0).view(5, 2))
        items.keep(TAKEN)
    return items


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_items_are_the_mean_of_their_journeys(layers: int) -> None:
    start, gram = np.arange(10.0).reshape(5, 2), NORMALISED.T @ NORMALISED
    wanted = sum(np.linalg.matrix_power(gram, step) @ start for step in range(layers + 1)) / (layers + 1)
    np.testing.assert_allclose(smoothed(layers).smoothed.numpy(), wanted, rtol=1e-5)


def test_people_of_the_graph_and_strangers_alike_are_propagated_exactly() -> None:
    items = smoothed(1)
    known = items.known(BagStore(TAKEN).all(CPU)).numpy()
    wanted = NORMALISED @ items.smoothed.numpy()
    np.testing.assert_allclose(known[:2], wanted[:2], rtol=1e-5)
    np.testing.assert_allclose(known[2], wanted.sum(axis=0) / 3, rtol=1e-5)
    stranger = items.known(BagStore(Contexts.from_lists([[1, 4]]).matrix(5)).all(CPU))[0].numpy()
    parts = items.smoothed.numpy()
    np.testing.assert_allclose(stranger, (parts[1] / np.sqrt(2) + parts[4]) / np.sqrt(2), rtol=1e-5)


def test_what_arrives_can_be_changed_on_the_way() -> None:
    items = smoothed(1)
    plain = items.travel(SparseProduct.of(symmetric(TAKEN), CPU))
    doubled = items.travel(SparseProduct.of(symmetric(TAKEN), CPU), lambda vectors: 2 * vectors)
    torch.testing.assert_close(doubled[0], plain[0])
    torch.testing.assert_close(doubled[1], 4 * plain[1])


def test_neighbours_are_drawn_from_both_ends_of_triples() -> None:
    knowledge = Knowledge(
        heads=np.array([0, 0, 0, 4]),
        relations=np.array([0, 1, 1, 0]),
        tails=np.array([3, 4, 5, 1]),
        n_items=3,
        n_entities=6,
        n_relations=2,
    )
    neighbours, relations = sampled_neighbours(knowledge, 2, torch.Generator().manual_seed(0))
    pairs = {(0, 3, 0), (0, 4, 1), (0, 5, 1), (4, 1, 0)}
    both = pairs | {(tail, head, relation) for head, tail, relation in pairs}
    for entity in (0, 1, 3, 4, 5):
        for neighbour, relation in zip(neighbours[entity].tolist(), relations[entity].tolist(), strict=True):
            assert (entity, neighbour, relation) in both
    assert neighbours[0].unique().numel() == 2, "drawn without repeats where there are enough"
    assert sorted(neighbours[4].tolist()) == [0, 1]
    assert neighbours[1].tolist() == [4, 4]
    assert neighbours[2].tolist() == [2, 2], "nobody speaks of it"
    assert relations[2].tolist() == [2, 2]
    more, _ = sampled_neighbours(knowledge, 3, torch.Generator().manual_seed(1))
    assert sorted(more[0].tolist()) == [3, 4, 5]
