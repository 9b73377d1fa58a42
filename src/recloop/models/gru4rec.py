"""GRU4Rec: a recurrent network reads the history and predicts what comes next.

Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based recommendations with recurrent neural networks", ICLR 2016;
input and output share their item vectors as in Hidasi and Karatzoglou, "Recurrent neural networks with top-k gains for
session-based recommendations", CIKM 2018.
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


class GRU4RecConfig(RecurrentConfig):
    """Parameters of `GRU4Rec`: those of `RecurrentConfig`."""

    search: ClassVar[Mapping[str, Space]] = {
        "cell": Choice(("gru", "lstm", "rnn")),
        "dim": Choice((32, 64, 128, 256)),
        "dropout": Real(0, 0.6),
        "max_length": Whole(20, 200, log=True),
        "learning_rate": Real(0.0005, 0.01, log=True),
    }


class _Network(RecurrentNetwork):
    """Item embeddings, recurrent layers, a projection; index I is the start of every history."""

    def __init__(self, config: GRU4RecConfig, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.dim)
        self.drop = Dropout(config.dropout)
        self.recurrence = Recurrence(config.cell, config.dim, config.layers, config.dropout)
        self.project = nn.Linear(config.dim, config.dim)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        """Item vectors of expected length 1, projection and recurrence uniform, biases 0."""
        dim = self.items.embedding_dim
        nn.init.normal_(self.items.weight, std=dim**-0.5, generator=generator)
        self.recurrence.initialise(generator)
        nn.init.xavier_uniform_(self.project.weight, generator=generator)
        nn.init.zeros_(self.project.bias)

    @override
    def forward(self, items: Tensor, packing: Packing, *, newest_only: bool = False) -> Tensor:
        """``W h + c`` after each of the events `items` (M,), (M, D), or the newest of each sequence, (B, D)."""
        states = packing.events(self.recurrence(packing.rows(self.drop(self.items(items)))))
        return self.project(self.drop(states[packing.newest] if newest_only else states))


class GRU4Rec(RecurrentModel[GRU4RecConfig, _Network]):
    """Scores = ``(W h + c) . e_i`` for the recurrent state ``h`` (D,) after the newest event and items ``e_i`` (D,).

    ``e_i`` is also what the network reads. Every history begins with a start token, so an empty one is answered with
    what people begin with. Training cuts histories into windows of `max_length` events from the newest back, each read
    from a state of zeros, and predicts the next item at every position. Scoring reads the newest `max_length` events,
    the token included where they are fewer.

    Unlike the papers: the loss is the softmax over the whole catalogue, or its estimate from uniformly drawn items,
    instead of a ranking loss (TOP1, BPR-max) against the other items of a batch; windows are read whole instead of
    step by step beside other sessions; the state is projected before it meets the items.
    """

    Config = GRU4RecConfig

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)
