"""Inner products that come out alike, however many rows are asked for at once.

Shapes: B rows, I items, D dimensions.
"""

import torch
from torch import Tensor

_CHUNK = 1 << 16


def inner_products(rows: Tensor, items: Tensor) -> Tensor:
    """``rows @ items.T``, float32 (B, I), summed in float64.

    Libraries add the terms of a product in an order that depends on its shape, so in float32 a ranking computed for one
    person could differ from the same ranking computed in a batch. Rounded from float64, both are the same but for
    about one score in a hundred million. Items are converted 65,536 at a time, so memory stays near that of the result.
    """
    rows = rows.double()
    scores = torch.empty(len(rows), len(items), dtype=torch.float32, device=items.device)
    for start in range(0, len(items), _CHUNK):
        scores[:, start : start + _CHUNK] = rows @ items[start : start + _CHUNK].double().T
    return scores
