"""A person and an item joined by a multilayer perceptron: the learned match of neural collaborative filtering.

He et al., "Neural collaborative filtering", WWW 2017.
Shapes: B people, I items, D dimensions of a vector, H of the first layer, P pairs.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from typing_extensions import override

MAX_ACTIVATIONS = 1 << 22


class PairPerceptron(nn.Module):
    """``z = relu(W_n ... relu(W_1 [p; q] + b_1) ... + b_n)`` for pairs of vectors ``p`` and ``q``, each (D,).

    The first layer is H wide and every next one half as wide, at least 1. As it is linear in the concatenation,
    ``W_1 [p; q]`` is the sum of a person's part and an item's part: each is computed once, not once a pair.

    Args:
        dim: D.
        layers: n, at least 1.
        first: H; D by default.
    """

    def __init__(self, dim: int, layers: int, first: int | None = None) -> None:
        super().__init__()
        first = first or dim
        self.person = nn.Linear(dim, first)
        self.item = nn.Linear(dim, first, bias=False)
        widths = [max(1, first >> layer) for layer in range(layers)]
        self.rest = nn.ModuleList(nn.Linear(*ends) for ends in pairwise(widths))
        self.width = widths[-1]

    def initialise(self, generator: torch.Generator) -> None:
        """He's normal weights, which keep the size of what goes through, and zero biases."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)

    @override
    def forward(self, person_parts: Tensor, item_parts: Tensor) -> Tensor:
        """``z`` of pairs, (..., width), from the parts of their two sides, which broadcast."""
        state = relu(person_parts + item_parts)
        for layer in self.rest:
            state = relu(layer(state))
        return state


def in_blocks(n_people: int, n_items: int, width: int, max_activations: int = MAX_ACTIVATIONS) -> list[slice]:
    """The catalogue in slices, so that people x items x width of a slice is at most `max_activations`, or one item."""
    size = max(1, max_activations // max(1, n_people * width))
    return [slice(start, min(start + size, n_items)) for start in range(0, n_items, size)]
