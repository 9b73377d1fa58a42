"""A sequence model whose items are their texts, so that what it learned goes with it to other items.

In the spirit of Hou, Mu, Zhao, Li, Ding and Wen, "Towards universal sequence representation learning for recommender
systems" (UniSRec), KDD 2022.
Shapes: B contexts, M events of a batch, I items, J items at hand, D dimensions, L positions, F features of items.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import sparse
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.features import BUCKETS, Features, texts, vectors
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models import storage
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.losses import sampled_softmax_loss, softmax_loss
from recloop.nn.packing import Packing
from recloop.nn.sparse import Entries
from recloop.nn.transformer import Block, initialise
from recloop.nn.windows import Windows, runs, with_start
from recloop.search import Real, Space

_ROWS = 1 << 16
_NOT_LETTERS = r"[^\p{L}\p{N}]+"


class TransferSequenceConfig(NeuralConfig):
    """Parameters of `TransferSequence`.

    Attributes:
        content: what an item is: the ``words`` of its texts, hashed, or its row of the column of item ``vectors``.
        pretrained: folder of a trained transfer_sequence model, of these or of other items, to begin with; null begins
            with nothing.
        freeze: what stays as it was in `pretrained`: ``none``, or the ``encoder`` that reads sequences, so that only
            what makes vectors of items is trained.
        dim: length of the vectors, D.
        layers: attention blocks.
        heads: of each block, a divisor of `dim`.
        dropout: share of activations set to zero in training.
        max_length: newest events that the model looks at, L.
        loss: ``softmax`` over all items of the training data, or ``sampled_softmax`` over the target and `negatives`
            drawn ones, so that a step makes vectors of few items only.
        negatives: items drawn for each batch, for ``sampled_softmax``.

    A training example is a window of `max_length` events.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dropout": Real(0, 0.6),
        "learning_rate": Real(0.0003, 0.01, log=True),
        "weight_decay": Real(1e-5, 1, log=True),
    }

    content: Literal["words", "vectors"] = "words"
    pretrained: str | None = None
    freeze: Literal["none", "encoder"] = "none"
    dim: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    max_length: int = Field(default=50, ge=1)
    loss: Literal["softmax", "sampled_softmax"] = "softmax"
    negatives: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        if self.freeze != "none" and self.pretrained is None:
            raise ValueError(f"freeze '{self.freeze}' needs pretrained weights to keep")
        return self


class _Network(nn.Module):
    """From features to vectors of items, and the encoder of sequences; `vectors` (I, D) are those of all items."""

    vectors: Tensor

    def __init__(self, config: TransferSequenceConfig, n_items: int, n_features: int) -> None:
        super().__init__()
        self.project = nn.Parameter(torch.empty(n_features, config.dim))
        self.adapt = nn.Sequential(
            nn.LayerNorm(config.dim), nn.Linear(config.dim, config.dim), nn.GELU(), nn.Linear(config.dim, config.dim)
        )
        self.encoder = _Encoder(config)
        self.register_buffer("vectors", torch.zeros(n_items, config.dim))

    def describe(self, features: Entries | Tensor) -> Tensor:
        """Vectors (J, D) of items with `features`, sparse or dense (J, F)."""
        sparse_sums = isinstance(features, Entries)
        projected = features.sums(self.project, features.values) if sparse_sums else features @ self.project
        return projected + self.adapt(projected)


class _Encoder(nn.Module):
    """A causal transformer over vectors of items."""

    def __init__(self, config: TransferSequenceConfig) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.empty(1, config.dim))
        self.positions = nn.Parameter(torch.empty(config.max_length, config.dim))
        self.drop = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    @override
    def forward(self, vectors: Tensor, items: Tensor, packing: Packing, *, newest_only: bool = False) -> Tensor:
        """States after each event (M, D), or after the newest of each sequence (B, D).

        Args:
            vectors: (J, D), of the items at hand.
            items: int64 (M,), which of them each event is; J is the start.
            packing: whose events these are.
            newest_only: compute no other event's result.
        """
        seen = nn.functional.embedding(items, torch.cat([vectors, self.start]))
        places = self.positions[len(self.positions) - 1 - packing.ages]
        states = self.drop(seen * vectors.shape[1] ** 0.5 + places)
        for index, block in enumerate(self.blocks):
            states = block(states, packing, newest_only=newest_only and index == len(self.blocks) - 1)
        return self.norm(states)


class TransferSequence(NeuralModel[TransferSequenceConfig, _Network]):
    """Scores = ``h . v_i``: h (D,) the state after the newest event, ``v_i = p_i + f(p_i)`` (D,) made of features.

    ``p_i = W' x_i`` projects the features ``x_i`` (F,) of an item, which are the hashed words of all its texts or a
    vector computed elsewhere, and f is a small network. An item has nothing else: no vector of its own is learned, so
    items without interactions are scored like all others, those without text all alike. h comes from a causal
    transformer over the v of the history; every history begins with a start token, so an empty one is answered with
    what people begin with. Training predicts the next item at every position, among the items that somebody took: new
    ones are not taught to be unpopular.

    All weights are about texts and sequences and none about one item, so a model can begin with those of another one
    whose items it does not share (`pretrained`), and then train all of them, or the item side alone (`freeze`).

    Unlike UniSRec: items are hashed words (or given vectors) under a projection and a residual network, instead of
    whitened outputs of a language model under a mixture of experts; pre-training is prediction of the next item on one
    domain, without contrastive tasks across domains; an item never gets a vector of its own in fine-tuning.
    """

    Config = TransferSequenceConfig
    per_item = frozenset()
    needs = frozenset({"item_text"})
    takes = frozenset({"item_vectors"})
    cold_items = True

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        assert data.items is not None, "check_needs asks for texts of items"
        self._features = _features(data.items, self.config.content)
        self._n_features = self._features.shape[1] if isinstance(self._features, np.ndarray) else BUCKETS
        self._pretrained = {} if self.config.pretrained is None else self._read(Path(self.config.pretrained))
        self._taken, items = np.unique(data.histories.items, return_inverse=True)
        offsets, self._events = with_start(data.histories.offsets, items.astype(np.int64), len(self._taken))
        self._windows = Windows(offsets, self._events, self.config.max_length)
        self._described = self._rows(self._taken) if self.config.loss == "softmax" else None
        return len(self._windows)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, self._n_features)

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        self._n_features = len(tensors.get("project", ()))

    @override
    def initialise(self, generator: torch.Generator) -> None:
        initialise(self.network, generator)
        for name, tensor in self._pretrained.items():
            self.network.get_parameter(name).copy_(tensor)
        self.network.encoder.requires_grad_(self.config.freeze != "encoder")
        self.pass_ends()

    @override
    def pass_ends(self) -> None:
        for start in range(0, self.n_items, _ROWS):
            rows = np.arange(start, min(start + _ROWS, self.n_items))
            self.network.vectors[start : start + _ROWS] = self.network.describe(self._rows(rows))

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        places, sizes = self._windows.events(rows)
        seen, targets = self._events[places], self._events[places + 1]
        packing = Packing(sizes, self.device)
        if self._described is not None:
            items = self.network.describe(self._described)
            hidden = self.network.encoder(items, self._on_device(seen), packing)
            return softmax_loss(hidden, items, self._on_device(targets))
        taken = len(self._taken)
        drawn = torch.randint(taken, (self.config.negatives,), generator=generator, device=self.device).cpu().numpy()
        hand = np.unique(np.concatenate([seen, targets, drawn]))
        hand = hand[hand < taken]
        items = self.network.describe(self._rows(self._taken[hand]))
        at = [self._on_device(np.searchsorted(hand, part)) for part in (seen, targets, drawn)]
        shares = torch.full((len(hand),), 1 / taken, device=self.device)
        return sampled_softmax_loss(self.network.encoder(items, at[0], packing), items, at[1], at[2], shares)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        offsets, items = with_start(contexts.offsets, contexts.items, self.n_items)
        sizes = np.minimum(np.diff(offsets), self.config.max_length)
        seen = self._on_device(items[runs(offsets[1:], sizes)])
        return self.network.encoder(self.item_vectors(), seen, Packing(sizes, self.device), newest_only=True)

    @override
    def item_vectors(self) -> Tensor:
        return self.network.vectors

    def _rows(self, items: NDArray[np.int64]) -> Entries | Tensor:
        """The features of `items` (J,): sparse words, or dense vectors (J, F)."""
        found = self._features[items]
        return Entries(found, self.device) if isinstance(found, sparse.csr_matrix) else self._on_device(found)

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _read(self, folder: Path) -> dict[str, Tensor]:
        """The weights of a trained model that are not about its items.

        Raises:
            ModelError: the folder holds no model of this kind, or one that differs in what this one's shapes follow
                from; it is named.
        """
        found, _ = storage.load(folder, self.device)
        if not isinstance(found, TransferSequence):
            raise ModelError(
                f"{folder} holds the model '{found.name()}'; name the folder of a {self.name()} model as pretrained."
            )
        for name in ("content", "dim", "layers", "heads", "max_length"):
            theirs, own = getattr(found.config, name), getattr(self.config, name)
            if theirs != own:
                raise ModelError(f"{folder} was trained with {name} {theirs}, not {own}; use the same {name} for both.")
        weights = dict(found.network.named_parameters())
        if len(weights["project"]) != self._n_features:
            raise ModelError(
                f"{folder} was trained on item vectors of length {len(weights['project'])}, not {self._n_features}; "
                "use vectors of the same kind for both."
            )
        return {name: weight.detach() for name, weight in weights.items()}


def _features(items: pl.DataFrame, content: str) -> sparse.csr_matrix | NDArray[np.float32]:
    """``x``, (I, F), of length 1 an item: counts of its words, hashed, whatever column they stand in; or its vector.

    Raises:
        ModelError: vectors are asked for and there are none.
    """
    if content == "words":
        said = pl.Series("text", texts(items), dtype=pl.String).str.replace_all(_NOT_LETTERS, " ")
        return Features.from_frame(said.to_frame()).matrix()
    found = vectors(items)
    if found is None:
        raise ModelError(
            "transfer_sequence with content 'vectors' needs a column of item vectors: lists of equally many numbers; "
            "add it to the table 'items' or use content 'words'."
        )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.maximum(lengths, np.finfo(np.float32).tiny)
