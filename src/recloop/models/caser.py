"""Caser: convolutions over the newest items as if they were a picture.

Tang and Wang, "Personalized top-N sequential recommendation via convolutional sequence embedding", WSDM 2018.
Shapes: B contexts, M events of a batch, I items, D dimensions, L items of a picture, P positions, T targets.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.losses import sampled_softmax_loss, softmax_loss
from recloop.nn.negatives import uniform
from recloop.nn.packing import Packing
from recloop.nn.windows import PADDING, Windows, newest, runs, with_start
from recloop.search import Choice, Real, Space, Whole


class CaserConfig(NeuralConfig):
    """Parameters of `Caser`.

    Attributes:
        dim: length of the item vectors that are read, D; those that are scored are twice as long.
        max_length: newest items that the convolutions look at, L.
        history: newest events that the person's vector adds up.
        targets: how many of the following items are predicted at each event, T.
        filters: horizontal filters of each height from 1 to L.
        vertical_filters: vertical filters.
        dropout: share of the filters' results set to zero in training.
        loss: ``softmax`` over all items, or ``sampled_softmax`` over the target and `negatives` drawn items.
        negatives: items drawn for each batch, for ``sampled_softmax``.

    A training example is a window of `history` events.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dim": Choice((32, 64, 128)),
        "max_length": Whole(3, 12),
        "targets": Whole(1, 3),
        "filters": Choice((4, 8, 16, 32)),
        "vertical_filters": Choice((1, 2, 4, 8)),
        "dropout": Real(0, 0.7),
        "learning_rate": Real(0.0005, 0.01, log=True),
    }

    dim: int = Field(default=64, ge=1)
    max_length: int = Field(default=5, ge=1)
    history: int = Field(default=200, ge=1)
    targets: int = Field(default=3, ge=1)
    filters: int = Field(default=16, ge=1)
    vertical_filters: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    loss: Literal["softmax", "sampled_softmax"] = "softmax"
    negatives: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=16, ge=1)
    epochs: int = Field(default=30, ge=1)


class Convolutions(nn.Module):
    """``relu(W [o; v] + b)``: o from horizontal filters, v from vertical ones, over pictures of L items.

    A horizontal filter of height h is laid on each h adjacent items of a picture, and the largest of the results, at
    least 0, is kept. A vertical filter is a weighted sum of the L items' vectors. Both are computed once for each place
    of a sequence, however many overlapping pictures it belongs to.

    Args:
        dim: D.
        length: L.
        filters: horizontal filters of each height.
        vertical_filters: vertical filters.
        dropout: share of [o; v] set to zero in training.
    """

    def __init__(self, dim: int, length: int, filters: int, vertical_filters: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.horizontal = nn.ModuleList(nn.Conv1d(dim, filters, height) for height in range(1, length + 1))
        self.vertical = nn.Linear(length, vertical_filters, bias=False)
        self.drop = Dropout(dropout)
        self.join = nn.Linear(filters * length + vertical_filters * dim, dim)

    @override
    def forward(self, places: Tensor) -> Tensor:
        """One vector for each picture, (B, P, D), for `places` (B, L - 1 + P, D): picture p ends at place L - 1 + p."""
        upright = places.transpose(1, 2)
        largest = [
            functional.max_pool1d(filters(upright), self.length - height, stride=1).relu()
            for height, filters in enumerate(self.horizontal)
        ]
        horizontal = torch.cat(largest, dim=1).transpose(1, 2)
        vertical = self.vertical(places.unfold(1, self.length, 1)).flatten(2)
        return self.join(self.drop(torch.cat([horizontal, vertical], dim=2))).relu()


class _Network(nn.Module):
    """Vectors of items as they are read, as they make up a person, and as they are scored; and the convolutions."""

    def __init__(self, config: CaserConfig, n_items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items, config.dim)
        self.tastes = nn.Embedding(n_items, config.dim)
        self.anybody = nn.Parameter(torch.empty(config.dim))
        self.scored = nn.Embedding(n_items, 2 * config.dim)
        self.convolutions = Convolutions(
            config.dim, config.max_length, config.filters, config.vertical_filters, config.dropout
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Vectors of expected length 1, `tastes` and `anybody` small, filters uniform, their biases 0."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.zeros_(parameter)
            elif name.startswith("convolutions"):
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                scale = 0.1 if name.startswith("tastes") else 1.0
                nn.init.normal_(parameter, std=scale * parameter.shape[1] ** -0.5, generator=generator)

    def read(self, items: Tensor) -> Tensor:
        """What the convolutions see of `items` (...), (..., D): zeros where an index is no item."""
        return _where_item(self.items, items)

    def person(self, sums: Tensor, counts: Tensor) -> Tensor:
        """The vectors of people (..., D) from the `sums` (..., D) of the tastes of their `counts` (...) events."""
        return sums * counts.clamp(min=1)[..., None] ** -0.5 + self.anybody

    @override
    def forward(self, items: Tensor, packing: Packing) -> Tensor:
        """What is scored against the items after each of the events `items` (M,), (M, 2 D)."""
        places = functional.pad(packing.rows(self.read(items)), (0, 0, self.convolutions.length - 1, 0))
        newest_items = packing.events(self.convolutions(places))
        is_item = (items < self.items.num_embeddings).to(newest_items.dtype)
        both = torch.cat([_where_item(self.tastes, items).float(), is_item[:, None].float()], dim=1)
        so_far = packing.events(packing.rows(both).cumsum(dim=1))
        return torch.cat([newest_items, self.person(so_far[:, :-1], so_far[:, -1])], dim=1)


class Caser(NeuralModel[CaserConfig, _Network]):
    """Scores = ``[z; p] . w_i``: z (D,) from convolutions over the newest L items, p (D,) for the person.

    z is made as in `Convolutions`; missing items are zeros. The paper learns a vector p for each user; here it is
    ``c + n^-0.5 * sum_j q_j`` over the n newest events, at most `history`, with a vector ``q_j`` (D,) for each item and
    ``c`` (D,) for anybody, so that it exists for everybody (Kabbur, Ning and Karypis, "FISM", KDD 2013). An empty
    history gets z of nothing but zeros and p = c, learned from the first events of all people.

    Training cuts histories into windows of `history` events from the newest back. At each event, the loss is the mean
    over the next T of the history that lie in the data; z and p come from what lies before them.

    Further unlike the paper: the loss is the softmax over the whole catalogue, or its estimate from uniformly drawn
    items, instead of binary cross-entropy with three negatives; an item's bias is ``c . w_i`` and not a number of its
    own.
    """

    Config = CaserConfig
    per_item = frozenset({"items.weight", "tastes.weight", "scored.weight"})
    large_products = True
    needs = frozenset({"timestamps"})

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        offsets, self._items = with_start(data.histories.offsets, data.histories.items, self.n_items)
        self._ends = np.repeat(offsets[1:], np.diff(offsets))
        self._windows = Windows(offsets, self._items, self.config.history)
        return len(self._windows)

    @override
    def owners(self) -> NDArray[np.int64]:
        return self._windows.owners

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        events, sizes = self._windows.events(rows)
        hidden = self.network(self._on_device(self._items[events]), Packing(sizes, self.device))
        targets, shares = self._targets(events)
        if self.config.loss == "softmax":
            first = softmax_loss(hidden, self.item_vectors(), targets[:, 0])
        else:
            sampled = uniform(self.n_items, self.config.negatives, generator)
            first = sampled_softmax_loss(hidden, self.item_vectors(), targets[:, 0], sampled)
        return first + spread(hidden, self.item_vectors(), targets, shares)

    def _targets(self, events: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The next T items after each of `events` (M,), int64 (M, T), and their shares in the loss, float32 (M, T).

        Where the history ends before, the first of them stands with a share of 0.
        """
        ahead = events[:, None] + 1 + np.arange(self.config.targets)
        there = ahead < self._ends[events, None]
        shares = there / there.sum(axis=1, keepdims=True)
        targets = self._items[np.where(there, ahead, ahead[:, :1])]
        return self._on_device(targets), self._on_device(shares.astype(np.float32))

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        length = self.config.max_length
        recent = self._on_device(newest(contexts.offsets, contexts.items, length))
        recent = functional.pad(recent, (length - recent.shape[1], 0), value=PADDING)
        newest_items = self.network.convolutions(self.network.read(recent))[:, 0]
        sizes = np.minimum(contexts.lengths, self.config.history)
        events = self._on_device(contexts.items[runs(contexts.offsets[1:], sizes)])
        starts = self._on_device(np.cumsum(sizes) - sizes)
        sums = functional.embedding_bag(events, self.network.tastes.weight, starts, mode="sum")
        return torch.cat([newest_items, self.network.person(sums, self._on_device(sizes))], dim=1)

    @override
    def item_vectors(self) -> Tensor:
        return self.network.scored.weight

    def _on_device(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def spread(hidden: Tensor, items: Tensor, targets: Tensor, shares: Tensor) -> Tensor:
    """What turns the cross-entropy of first targets into that of several targets: ``mean_n h_n . (e_n1 - e_n)``.

    ``e_nk`` is the vector of target k of prediction n, and ``e_n = sum_k s_nk e_nk`` with shares s that add up to 1.
    All targets of a prediction have one ``logsumexp``, so it has to be computed once only.

    Args:
        hidden: (N, D), N > 0.
        items: (I, D).
        targets: int64 (N, T).
        shares: (N, T), s.
    """
    vectors = functional.embedding(targets, items)
    return (hidden * (vectors[:, 0] - (vectors * shares[:, :, None]).sum(dim=1))).sum(dim=1).mean()


def _where_item(vectors: nn.Embedding, items: Tensor) -> Tensor:
    """The vectors of `items` (...), (..., D); zeros where an index is no item."""
    known = (items >= 0) & (items < vectors.num_embeddings)
    return vectors(items.clamp(0, vectors.num_embeddings - 1)) * known[..., None]
