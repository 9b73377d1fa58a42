"""Items drawn as examples of what did not come next."""

import torch
from torch import Tensor


def uniform(n_items: int, count: int, generator: torch.Generator) -> Tensor:
    """Item indices drawn uniformly with replacement, int64 (count,), on the generator's device."""
    return torch.randint(n_items, (count,), generator=generator, device=generator.device)


TABLE = 1 << 26


class Unseen:
    """Draws items that a person has not taken, for many people at once.

    What was taken is looked up in a table of people x items, a byte each, where that has at most `table` of them, and
    else found by bisection of the pairs, which is slower.

    Args:
        rows: int64 (N,), who took.
        items: int64 (N,), what; together the pairs that are never drawn.
        n_items: size of the catalogue, I.
        device: where to draw.
        table: see above.
    """

    def __init__(self, rows: Tensor, items: Tensor, n_items: int, device: torch.device, table: int = TABLE) -> None:
        self._taken = torch.unique(rows.to(device) * n_items + items.to(device))
        self._n_items = n_items
        pairs = int(self._taken[-1]) + 1 if len(self._taken) else 0
        # what lies behind the last pair was not taken: one place stands for all of it
        self._table = torch.zeros(pairs + 1, dtype=torch.bool, device=device) if pairs <= table else None
        if self._table is not None:
            self._table[self._taken] = True

    def draw(self, rows: Tensor, count: int, generator: torch.Generator, tries: int = 8) -> Tensor:
        """`count` items for each of `rows` (B,), int64 (B, count), uniformly with replacement.

        A pair that was taken is drawn again, at most `tries` times; who has taken nearly everything may get one of his.
        """
        drawn = torch.randint(self._n_items, (len(rows), count), generator=generator, device=generator.device)
        for _ in range(tries):
            taken = self.taken(rows[:, None], drawn)
            again = int(taken.sum())
            if not again:
                break
            drawn[taken] = torch.randint(self._n_items, (again,), generator=generator, device=generator.device)
        return drawn

    def taken(self, rows: Tensor, items: Tensor) -> Tensor:
        """Which of the pairs were taken, bool, of the shape that `rows` and `items` broadcast to."""
        keys = rows * self._n_items + items
        if self._table is not None:
            return self._table[keys.clamp(max=len(self._table) - 1)]
        position = torch.searchsorted(self._taken, keys).clamp(max=len(self._taken) - 1)
        return self._taken[position] == keys
