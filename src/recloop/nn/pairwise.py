"""A network for losses over pairs: what a person took should score higher than what the person did not.

Shapes: B people, I items, D dimensions, N events of all B histories, K other items an event.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from recloop.nn.histories import Bags, HistoryEncoder

_VECTORS = 1 << 13


class PairNetwork(nn.Module):
    """``s_ui = p_u . e_i + b_i``, with ``p_u`` the vector that `HistoryEncoder` makes of a history.

    Args:
        n_items: I.
        dim: D.
        power: of `HistoryEncoder`.
    """

    def __init__(self, n_items: int, dim: int, power: float) -> None:
        super().__init__()
        self.history = HistoryEncoder(n_items, dim, power)
        self.items = nn.Embedding(n_items, dim)
        self.biases = nn.Embedding(n_items, 1)

    def initialise(self, generator: torch.Generator) -> None:
        """Normal vectors of deviation 0.1 / sqrt(D) on average, biases 0."""
        for table in (self.history.items, self.items):
            nn.init.normal_(table.weight, std=0.1, generator=generator)
        nn.init.zeros_(self.biases.weight)

    @override
    def forward(self, people: Tensor, items: Tensor) -> Tensor:
        """Scores (N, K) of `items` (N, K) for the person vectors `people` (N, D)."""
        return (self.items(items) * people[:, None]).sum(dim=2) + self.biases(items)[:, :, 0]

    def many(self, people: Tensor, items: Tensor) -> Tensor:
        """What `forward` gives, without a gradient and a piece of `items` at a time, so that large K need no memory."""
        scores = torch.empty(items.shape, dtype=people.dtype, device=people.device)
        rows = max(1, _VECTORS // items.shape[1])
        with torch.no_grad():
            for start in range(0, len(items), rows):
                part = slice(start, start + rows)
                scores[part] = self(people[part], items[part])
        return scores

    def people(self, bags: Bags) -> Tensor:
        """``(p_u, 1)``, (B, D + 1)."""
        return nn.functional.pad(self.history(bags), (0, 1), value=1.0)

    def catalogue(self) -> Tensor:
        """``(e_i, b_i)``, (I, D + 1)."""
        return torch.cat([self.items.weight, self.biases.weight], dim=1)


def untaken(bags: Bags, n_items: int, count: int, generator: torch.Generator, tries: int = 8) -> Tensor:
    """`count` items for each of the N events, int64 (N, count), drawn uniformly from those its person did not take.

    An item that was taken is drawn again, at most `tries` times; who has taken nearly everything may get one of his.
    What the B people took is written down as B x I bytes, which is several times as fast to look up as a sorted list
    when many items are drawn for the same people.
    """
    taken = torch.zeros(len(bags) * n_items, dtype=torch.bool, device=generator.device)
    first = bags.rows * n_items
    taken[first + bags.items] = True
    drawn = torch.randint(n_items, (len(first), count), generator=generator, device=generator.device)
    for _ in range(tries):
        again = taken[first[:, None] + drawn].nonzero(as_tuple=True)
        if not len(again[0]):
            break
        drawn[again] = torch.randint(n_items, (len(again[0]),), generator=generator, device=generator.device)
    return drawn


def first_violations(violates: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows of `violates`, bool (N, K), hold a violation, and at which try t from 1 to K the first one.

    Returns:
        bool (N,) and int64 (N,); the try of a row without a violation means nothing.
    """
    return violates.any(dim=1), violates.to(torch.uint8).argmax(dim=1) + 1
