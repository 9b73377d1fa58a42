import numpy as np
import torch

from recloop.nn.fields import CrossLayers, FeatureVectors, PairFields, Perceptron, SparseRows, pairwise
from recloop.nn.holdouts import bags

CPU = torch.device("cpu")
ROWS = SparseRows.of(np.array([0, 2, 2, 3]), np.array([9, 4, 6]), np.array([0.5, 2.0, 3.0], dtype=np.float32), CPU)


def vectors() -> FeatureVectors:
    module = FeatureVectors(2, 2)
    with torch.no_grad():
        module.initialise(torch.tensor([4, 9]), 0.1, torch.Generator())
        module.vectors.weight.copy_(torch.tensor([[1.0, 10.0], [2.0, -2.0], [7.0, 7.0]]))
    return module


def test_rows_are_taken_with_repeats() -> None:
    taken = ROWS.take(torch.tensor([2, 0, 1, 2]))
    assert taken.offsets.tolist() == [0, 1, 3, 3, 4]
    assert taken.buckets.tolist() == [6, 9, 4, 6]
    assert taken.weights.tolist() == [3.0, 0.5, 2.0, 3.0]


def test_features_add_up_and_unknown_ones_say_nothing() -> None:
    assert vectors()(ROWS).tolist() == [[3.0, 19.0], [0.0, 0.0], [0.0, 0.0]]
    assert vectors()(SparseRows.empty(3, CPU)).tolist() == [[0.0, 0.0]] * 3
    assert FeatureVectors(0, 2)(ROWS).tolist() == [[0.0, 0.0]] * 3


def test_pairwise_is_the_sum_of_the_products_of_all_pairs() -> None:
    fields = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]]])
    assert pairwise(fields).tolist() == [1.0 + 8.5 - 2.5]


def test_a_cross_layer_by_hand() -> None:
    for rank in (1, 2):
        cross = CrossLayers(2, 1, rank)
        with torch.no_grad():
            if rank == 1:
                cross.inner[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
                cross.outer[0].weight.copy_(torch.tensor([[3.0], [-1.0]]))
            else:
                cross.outer[0].weight.copy_(torch.tensor([[3.0, 6.0], [-1.0, -2.0]]))
            cross.outer[0].bias.copy_(torch.tensor([0.5, 1.0]))
        assert cross(torch.tensor([[2.0, -3.0]])).tolist() == [[2 * (-12 + 0.5) + 2, -3 * (4 + 1) - 3]]


def test_a_perceptron_without_layers_gives_back_its_input() -> None:
    perceptron = Perceptron(3, 5, 0)
    assert perceptron.width == 3
    assert perceptron(torch.ones(2, 3)).tolist() == [[1.0] * 3] * 2


def test_fields_of_people_and_items() -> None:
    fields = PairFields(3, 2, (2, 2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        fields.initialise((torch.tensor([4, 9]), torch.tensor([4, 9])), 0.1, generator)
        fields.describe(ROWS)
    people = fields.people(bags(torch.tensor([1, 1]), torch.tensor([0, 2]), 2), ROWS.take(torch.tensor([0, 1])))
    torch.testing.assert_close(people[0, 0], fields.nobody)
    torch.testing.assert_close(people[1, 0], fields.nobody + fields.history.items.weight[[0, 2]].sum(dim=0) / 2**0.5)
    assert people[1, 1].tolist() == [0, 0]
    catalogue = fields.catalogue()
    items = torch.tensor([[2, 0], [0, 0]])
    torch.testing.assert_close(fields.learnt(items, ROWS), catalogue[items])
    torch.testing.assert_close(catalogue[:, 1], fields.item_features(ROWS))


def test_known_buckets_are_found_among_others() -> None:
    features = FeatureVectors(3, 2)
    features.known.copy_(torch.tensor([4, 7, 9]))
    assert features.rows_among(torch.tensor([1, 4, 9, 12])).tolist() == [1, -1, 2]
    assert features.rows_among(torch.tensor([7])).tolist() == [-1, 0, -1]
    assert features.rows_among(torch.tensor([], dtype=torch.int64)).tolist() == [-1, -1, -1]
