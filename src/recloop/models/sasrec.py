"""SASRec: self-attention over the history predicts what comes next.

Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018; trained with the softmax over the catalogue as
in Klenitskiy and Vasilev, "Turning dross into gold loss", RecSys 2023, which beats one sampled negative by far.
Shapes: B contexts, I items, D dimensions, L positions, M events of a batch, F attributes, S sampled items.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.features import Features
from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.losses import bce_loss, gbce_loss, sampled_softmax_loss, softmax_loss
from recloop.nn.negatives import Unseen, uniform
from recloop.nn.packing import Packing
from recloop.nn.transformer import Block, initialise
from recloop.nn.windows import Windows, runs, with_start
from recloop.search import Choice, Real, Space, Whole


class SASRecConfig(NeuralConfig):
    """Parameters of `SASRec`.

    Attributes:
        dim: length of the vectors, D.
        layers: attention blocks.
        heads: of each block, a divisor of `dim`.
        dropout: share of activations set to zero in training.
        max_length: newest events that the model looks at, L.
        loss: ``softmax`` over all items; ``sampled_softmax`` over the target and `negatives` drawn items, corrected for
            how they are drawn; ``gbce`` of gSASRec with `negatives` drawn items; ``bce`` with one item that the person
            did not take, as in the first SASRec.
        negatives: items drawn for each batch, S, for ``sampled_softmax`` and ``gbce``.
        sampling: items are drawn with equal chances, or for ``sampled_softmax`` also in proportion to their events.
        calibration: t of ``gbce``: 0 trains as if all items had been sampled, 1 undoes the bias of sampling in full.
        attributes: add vectors of the item's attributes to the item's own, where there is a table of items.

    A training example is a window of `max_length` events.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "layers": Whole(1, 3),
        "dropout": Real(0.0, 0.7),
    }

    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    max_length: int = Field(default=50, ge=1)
    loss: Literal["softmax", "sampled_softmax", "gbce", "bce"] = "softmax"
    negatives: int = Field(default=256, ge=1)
    sampling: Literal["uniform", "popularity"] = "uniform"
    calibration: float = Field(default=0.75, ge=0, le=1)
    attributes: bool = False
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        if self.sampling == "popularity" and self.loss != "sampled_softmax":
            raise ValueError(f"sampling by popularity needs loss 'sampled_softmax', not '{self.loss}'")
        return self


class _Network(nn.Module):
    """Item embeddings, positions counted back from the newest, and blocks; index I is the start of every history."""

    described: Tensor

    def __init__(self, config: SASRecConfig, n_items: int, n_attributes: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.dim)
        self.positions = nn.Parameter(torch.empty(config.max_length, config.dim))
        self.drop = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        if config.attributes:
            self.attributes = nn.Embedding(n_attributes, config.dim)
            self.register_buffer("described", torch.empty(n_items + 1, config.dim))

    def vectors(self, attributes: tuple[Tensor, Tensor, Tensor] | None) -> Tensor:
        """Item vectors, the start's included, (I + 1, D).

        Args:
            attributes: all items' attributes, the offsets of each item's, and their weights; `None` for the sums
                computed last.
        """
        if attributes is None:
            return self.described if "described" in self._buffers else self.items.weight
        entries, offsets, weights = attributes
        return self.items.weight + nn.functional.embedding_bag(
            entries,
            self.attributes.weight,
            offsets,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )

    @override
    def forward(self, vectors: Tensor, items: Tensor, packing: Packing, *, newest_only: bool = False) -> Tensor:
        """States after each of the events `items` (M,), (M, D), or after the newest of each sequence, (B, D)."""
        places = self.positions[len(self.positions) - 1 - packing.ages]
        states = self.drop(nn.functional.embedding(items, vectors) * vectors.shape[1] ** 0.5 + places)
        for index, block in enumerate(self.blocks):
            states = block(states, packing, newest_only=newest_only and index == len(self.blocks) - 1)
        return self.norm(states)


class SASRec(NeuralModel[SASRecConfig, _Network]):
    """Scores = ``h . e_i``, with ``h`` (D,) the state after the newest event and ``e_i`` (D,) the items' embeddings.

    Every history begins with a start token, so an empty one is answered with what people begin with. Training cuts the
    history, token included, into windows of `max_length` events from the newest back, and predicts at each position the
    next item, all at once. Scoring looks at the newest `max_length` events. Positions count back from the newest and no
    padding is computed, so neither the length nor the company of a batch matters. Training multiplies matrices in
    bfloat16 where `devices.autocast` does; scores are computed in float32 everywhere.

    With `attributes`, an item's vector is its own plus the weighted sum of its attributes' vectors, attributes being
    hashed as in `data.features`.

    Differs from the paper: the start token, normalisation before the layers, GELU, no dropout inside attention,
    windows of the whole history instead of its newest part, and the softmax as default loss. gSASRec draws its
    negatives for each prediction, here a batch shares them.
    """

    Config = SASRecConfig
    per_item = frozenset({"items.weight"})
    large_products = True
    needs = frozenset({"timestamps"})
    takes = frozenset({"item_features"})

    @property
    @override
    def no_warm_start(self) -> str | None:
        return "attributes of items have no ids in a stored model" if self.config.attributes else None

    @property
    @override
    def no_privacy(self) -> str | None:
        counted = self.config.sampling == "popularity"
        return "it draws items in proportion to everybody's events" if counted else super().no_privacy

    @override
    def owners(self) -> NDArray[np.int64]:
        return self._windows.owners

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        histories = data.histories
        offsets, self._items = with_start(histories.offsets, histories.items, self.n_items)
        self._windows = Windows(offsets, self._items, self.config.max_length)
        self._people = np.repeat(np.arange(len(histories)), np.diff(offsets))
        if self.config.loss == "bce":
            rows, items = torch.from_numpy(histories.rows), torch.from_numpy(histories.items)
            self._unseen = Unseen(rows, items, self.n_items, self.device)
        chances = torch.from_numpy(np.bincount(histories.items, minlength=self.n_items)).double() + 1
        self._chances = (chances / chances.sum()).to(self.device)
        self._attributes = None
        self._n_attributes = 0
        if self.config.attributes and data.items is not None and data.items.width:
            self._attributes = self._attribute_bags(Features.from_frame(data.items))
        return len(self._windows)

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        self._n_attributes = len(tensors.get("attributes.weight", ()))

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, self._n_attributes)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        initialise(self.network, generator)
        self.pass_ends()

    @override
    def pass_ends(self) -> None:
        if self.config.attributes:
            own = self._attributes is None
            self.network.described.copy_(self.network.items.weight if own else self.network.vectors(self._attributes))

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        source, sizes = self._windows.events(self._windows.by_length(rows))
        inputs, targets = (torch.from_numpy(self._items[at]).to(self.device) for at in (source, source + 1))
        vectors = self.network.items.weight if self._attributes is None else self.network.vectors(self._attributes)
        hidden = self.network(vectors, inputs, Packing(sizes, self.device))
        items = vectors[: self.n_items]
        match self.config.loss:
            case "softmax":
                return softmax_loss(hidden, items, targets)
            case "bce":
                people = torch.from_numpy(self._people[source]).to(self.device)
                return bce_loss(hidden, items, targets, self._unseen.draw(people, 1, generator)[:, 0])
            case "gbce":
                sampled = uniform(self.n_items, self.config.negatives, generator)
                return gbce_loss(hidden, items, targets, sampled, self.config.calibration)
            case "sampled_softmax":
                if self.config.sampling == "uniform":
                    sampled = uniform(self.n_items, self.config.negatives, generator)
                    return sampled_softmax_loss(hidden, items, targets, sampled)
                sampled = torch.multinomial(self._chances, self.config.negatives, replacement=True, generator=generator)
                return sampled_softmax_loss(hidden, items, targets, sampled, self._chances.float())

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        offsets, items = with_start(contexts.offsets, contexts.items, self.n_items)
        sizes = np.minimum(np.diff(offsets), self.config.max_length)
        inputs = torch.from_numpy(items[runs(offsets[1:], sizes)]).to(self.device)
        return self.network(self.network.vectors(None), inputs, Packing(sizes, self.device), newest_only=True)

    @override
    def item_vectors(self) -> Tensor:
        return self.network.vectors(None)[: self.n_items]

    def _attribute_bags(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """All attributes, numbered from 0; the offsets of those of each item and the start; and their weights."""
        found, columns = np.unique(features.buckets, return_inverse=True)
        self._n_attributes = len(found)
        offsets = np.append(features.offsets, features.offsets[-1])
        entries, ends, weights = (
            torch.from_numpy(part).to(self.device)
            for part in (columns.astype(np.int64), offsets, features.weights.copy())
        )
        return entries, ends, weights
