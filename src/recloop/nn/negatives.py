"""Items drawn as examples of what did not come next."""

import torch
from torch import Tensor


def uniform(n_items: int, count: int, generator: torch.Generator) -> Tensor:
    """Item indices drawn uniformly with replacement, int64 (count,), on the generator's device."""
    return torch.randint(n_items, (count,), generator=generator, device=generator.device)


class Unseen:
    """Draws items that a person has not taken, for many people at once.

    Args:
        rows: int64 (N,), who took.
        items: int64 (N,), what; together the pairs that are never drawn.
        n_items: size of the catalogue, I.
        device: where to draw.
    """

    def __init__(self, rows: Tensor, items: Tensor, n_items: int, device: torch.device) -> None:
        self._taken = torch.unique(rows.to(device) * n_items + items.to(device))
        self._n_items = n_items

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
        if not len(self._taken):
            return torch.zeros_like(keys, dtype=torch.bool)
        position = torch.searchsorted(self._taken, keys).clamp(max=len(self._taken) - 1)
        return self._taken[position] == keys
