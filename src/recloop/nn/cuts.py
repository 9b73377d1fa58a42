"""Histories cut at a random place: what came before is shown, and the next event is to be predicted.

Shapes: B histories.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recloop.data.sequences import Contexts
from recloop.data.vocabulary import UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """What is shown of B people, and what came next.

    Attributes:
        shown: the events before the cut, the oldest first; some may be empty.
        items: int64 (B,), the next event's; `UNKNOWN` where the whole history is empty.
    """

    shown: Contexts
    items: NDArray[np.int64]


def cut(histories: Contexts, generator: torch.Generator) -> Cuts:
    """Cut each of B histories before any of its events, all alike likely.

    Events of one time have no order, so each cut puts them in a random one: where all times are equal, a random part is
    shown and another event is asked for.
    """
    draws = torch.rand(len(histories.items) + len(histories), generator=generator, device=generator.device)
    ties, shares = np.split(draws.double().cpu().numpy(), [len(histories.items)])
    starts, owners, lengths = histories.offsets[:-1], histories.rows, histories.lengths
    order = np.lexsort((ties, histories.timestamps, owners))
    stops = (shares * lengths).astype(np.int64)
    picked = order[np.arange(len(order)) < (starts + stops)[owners]]
    items = np.full(len(histories), UNKNOWN, dtype=np.int64)
    items[lengths > 0] = histories.items[order[(starts + stops)[lengths > 0]]]
    shown = Contexts(
        offsets=np.concatenate([[0], np.cumsum(stops)]).astype(np.int64),
        items=histories.items[picked],
        timestamps=histories.timestamps[picked],
        values=histories.values[picked],
        features=histories.features,
    )
    return Cuts(shown=shown, items=items)
