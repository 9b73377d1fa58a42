import torch

from recloop.nn.collaborative import PairPerceptron, in_blocks


def test_the_first_layer_is_one_over_the_concatenation() -> None:
    perceptron = PairPerceptron(4, 3)
    perceptron.initialise(torch.Generator().manual_seed(0))
    assert [layer.weight.shape for layer in perceptron.rest] == [(2, 4), (1, 2)]
    person, item = torch.randn(3, 4), torch.randn(3, 4)
    joint = torch.cat([perceptron.person.weight, perceptron.item.weight], dim=1)
    state = torch.relu(torch.cat([person, item], dim=1) @ joint.T + perceptron.person.bias)
    for layer in perceptron.rest:
        state = torch.relu(state @ layer.weight.T + layer.bias)
    torch.testing.assert_close(perceptron(perceptron.person(person), perceptron.item(item)), state)


def test_blocks_cover_the_catalogue_and_stay_small() -> None:
    assert in_blocks(2, 7, 5, max_activations=30) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert in_blocks(9, 2, 9, max_activations=5) == [slice(0, 1), slice(1, 2)]
    assert in_blocks(0, 3, 4) == [slice(0, 3)]
