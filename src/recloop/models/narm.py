"""NARM: a recurrent network whose newest state looks back at all earlier ones.

Li, Ren, Chen, Ren, Lian and Ma, "Neural attentive session-based recommendation", CIKM 2017.
Shapes: B contexts, M events of a batch, I items, D dimensions, L positions.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from recloop.models.recurrent import RecurrentConfig, RecurrentModel, RecurrentNetwork
from recloop.nn.dropout import Dropout
from recloop.nn.packing import Packing
from recloop.nn.recurrent import Recurrence
from recloop.search import Choice, Real, Space, Whole


class NARMConfig(RecurrentConfig):
    """Parameters of `NARM`: those of `RecurrentConfig`.

    The paper has ``gru`` cells. A batch takes memory for ``batch_size * L^2 * D`` numbers.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dim": Choice((32, 64, 128)),
        "dropout": Real(0, 0.6),
        "max_length": Whole(20, 100, log=True),
        "learning_rate": Real(0.0005, 0.01, log=True),
    }


class Attention(nn.Module):
    """``sum_j a_tj h_j`` over the states j up to t, with ``a_tj = v . s(A h_t + C h_j)`` and the logistic function s.

    The weights ``a`` are not normalised, as in the paper.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.weigh = nn.Parameter(torch.empty(1, dim))

    @override
    def forward(self, states: Tensor) -> Tensor:
        """The sum at every position t, (B, L, D), for `states` (B, L, D)."""
        return self._weights(self.query(states), states).tril() @ states

    def newest(self, asking: Tensor, states: Tensor, present: Tensor) -> Tensor:
        """The sum for the newest states alone, (B, D).

        Args:
            asking: (B, D), the newest state of each sequence.
            states: (B, L, D).
            present: bool (B, L), where there is a state.
        """
        weights = self._weights(self.query(asking)[:, None], states) * present[:, None]
        return (weights @ states)[:, 0]

    def _weights(self, queries: Tensor, states: Tensor) -> Tensor:
        """``a`` of each query (B, T, D) for each state (B, L, D), (B, T, L)."""
        return torch.sigmoid(queries[:, :, None] + self.key(states)[:, None]) @ self.weigh[0]


class _Network(RecurrentNetwork):
    """Item embeddings, recurrent layers, attention, the decoder; index I is the start of every history."""

    def __init__(self, config: NARMConfig, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.dim)
        self.drop = Dropout(config.dropout)
        self.recurrence = Recurrence(config.cell, config.dim, config.layers, config.dropout)
        self.attention = Attention(config.dim)
        self.decode = nn.Linear(2 * config.dim, config.dim)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        """Item vectors of expected length 1, matrices and recurrence uniform, the decoder's bias 0."""
        nn.init.normal_(self.items.weight, std=self.items.embedding_dim**-0.5, generator=generator)
        self.recurrence.initialise(generator)
        for matrix in (*self.attention.parameters(), self.decode.weight):
            nn.init.xavier_uniform_(matrix, generator=generator)
        nn.init.zeros_(self.decode.bias)

    @override
    def forward(self, items: Tensor, packing: Packing, *, newest_only: bool = False) -> Tensor:
        """What is scored against the items, after each of the events `items` (M,), (M, D), or the newest, (B, D)."""
        states = self.recurrence(packing.rows(self.drop(self.items(items))))
        own = packing.events(states)
        if newest_only:
            own = own[packing.newest]
            looked_back = self.attention.newest(own, states, packing.present)
        else:
            looked_back = packing.events(self.attention(states))
        return self.decode(self.drop(torch.cat([own, looked_back], dim=1)))


class NARM(RecurrentModel[NARMConfig, _Network]):
    """Scores = ``e_i . (B [h_t; sum_j a_tj h_j] + b)`` for the recurrent states ``h_j`` (D,) up to the newest, ``h_t``.

    ``h_t`` says what the history as a whole is about, the sum which events matter for what comes next (see
    `Attention`); ``e_i`` (D,) is also what the network reads. Every history begins with a start token, so an empty one
    is answered with what people begin with. Training cuts histories into windows of `max_length` events from the newest
    back and predicts the next item at every position at once, each looking back at earlier states only. Scoring looks
    at the newest `max_length` events, the token included where they are fewer.

    Unlike the paper: the start token; windows trained at all positions instead of one copy of a session for each of its
    prefixes; a bias ``b`` in the decoder.
    """

    Config = NARMConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)
