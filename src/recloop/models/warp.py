"""WARP: a taken item that stands far down the ranking weighs more than one near its top.

Weston, Bengio and Usunier, "WSABIE: scaling up to large vocabulary image annotation", IJCAI 2011; the person is made of
the history as in Kabbur, Ning and Karypis, "FISM", KDD 2013.
Shapes: B people, I items, D dimensions, N events of a batch of people, K items drawn for each.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from recloop.models.base import FitContext, TrainingData
from recloop.models.pairwise import PairwiseConfig, PairwiseModel
from recloop.nn.pairwise import first_violations
from recloop.search import Choice, Real, Space, Whole


class WARPConfig(PairwiseConfig):
    """Parameters of `WARP`; see `PairwiseConfig` for the others.

    Attributes:
        negatives: items drawn for each event, K: how far down the search for a violation goes.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "negatives": Whole(4, 128, log=True),
    }

    negatives: int = Field(default=16, ge=1)
    epochs: int = Field(default=20, ge=1)


class WARP(PairwiseModel[WARPConfig]):
    """Scores ``s_ui = p_u . e_i + b_i`` with ``p_u = n^-alpha sum of q_j`` over the n items j of the history.

    For each event (u, i), K items that u did not take are drawn. The first of them, the t-th, with ``s_uj > s_ui - 1``
    is the violator; i's rank is estimated as ``r = (I - 1) / t`` rounded down. Minimises the mean over all events of
    ``(1/1 + 1/2 + ... + 1/r) / (1 + ... + 1/(I - 1)) * max(0, 1 - s_ui + s_uj)``; an event without a violator adds 0.

    The paper draws one after the other until it meets a violator; here all K are drawn at once. Here ``p_u``
    leaves out item i, and all events of a person are examples of one step; the weights are scaled to at most 1, and
    weight decay takes the place of the bound on norms. An empty history gets ``b_i``.
    """

    Config = WARPConfig

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        harmonic = torch.cat([torch.zeros(1), 1 / torch.arange(1, max(2, self.n_items))]).cumsum(0)
        self._weights = (harmonic / harmonic[-1]).to(self.device)
        return super().prepare(data, context)

    @override
    def compare(self, people: Tensor, taken: Tensor, others: Tensor) -> Tensor:
        """The mean above, with `taken` (N, 1) the ``s_ui`` and `others` (N, K) the items drawn."""
        with torch.no_grad():
            found, tries = first_violations(self.network.many(people, others) > taken - 1)
            weights = self._weights[(self.n_items - 1) // tries]
        violators = others[found, tries[found] - 1, None]
        gaps = 1 - taken[found] + self.network(people[found], violators)
        return (weights[found, None] * gaps).sum() / len(taken)
