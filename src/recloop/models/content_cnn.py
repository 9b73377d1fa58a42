"""A convolutional network reads what is said about an item and makes its vector; people are their histories.

Text network: Kim, "Convolutional neural networks for sentence classification", EMNLP 2014; used for recommendation as
in Kim et al., "Convolutional matrix factorization for document context-aware recommendation" (ConvMF), RecSys 2016, and
Zheng, Noroozi and Yu, "Joint deep modeling of users and items using reviews" (DeepCoNN), WSDM 2017.
Shapes: B people, I items, C items read at a time, L words, D dimensions, V numbers of an image vector, N events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.features import texts, vectors
from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.dropout import Dropout
from recloop.nn.histories import BagStore, person_vectors, person_vectors_without_each
from recloop.nn.losses import softmax_loss
from recloop.nn.negatives import uniform
from recloop.nn.words import hashed_words
from recloop.search import Choice, Real, Space

_READ_AT_ONCE = 2048


class ContentCNNConfig(NeuralConfig):
    """Parameters of `ContentCNN`.

    Attributes:
        dim: length of the items' vectors, D.
        words: rows of the table of word vectors; words share rows by hashing.
        word_dim: length of the word vectors.
        windows: how many words the filters look at.
        filters: filters of each window.
        max_length: words of a text that are read, L.
        dropout: share of the text's features set to zero in training.
        negatives: items drawn for each batch, next to those of its people; a catalogue no larger is read whole.
        power: a history of n items is scaled by ``n ** -power``.

    A training example is a person with all items taken.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Real(3e-4, 3e-2, log=True),
        "dim": Choice((32, 64, 128)),
        "dropout": Real(0.0, 0.7),
        "filters": Choice((32, 64, 128)),
    }

    dim: int = Field(default=64, ge=1)
    words: int = Field(default=1 << 14, ge=1)
    word_dim: int = Field(default=64, ge=1)
    windows: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    filters: int = Field(default=64, ge=1)
    max_length: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    negatives: int = Field(default=2048, ge=1)
    power: float = Field(default=0.5, ge=0, le=1)
    learning_rate: float = Field(default=0.002, gt=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=30, ge=1)


class _Network(nn.Module):
    """Word vectors, filters over them, the strongest answer of each, and the way from there to the item's vector."""

    items: Tensor

    def __init__(self, config: ContentCNNConfig, n_items: int, image_dim: int) -> None:
        super().__init__()
        self.words = nn.Embedding(config.words + 1, config.word_dim)
        self.filters = nn.ModuleList(nn.Conv1d(config.word_dim, config.filters, width) for width in config.windows)
        self.drop = Dropout(config.dropout)
        self.from_text = nn.Linear(len(config.windows) * config.filters, config.dim)
        self.from_image = nn.Linear(image_dim, config.dim) if image_dim else None
        self.nobody = nn.Parameter(torch.empty(config.dim))
        self.register_buffer("items", torch.empty(n_items, config.dim))
        self.widest = max(config.windows)

    def initialise(self, generator: torch.Generator) -> None:
        """Normal word vectors, filters and layers by their number of inputs, zero biases."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=generator)
            else:
                nn.init.zeros_(parameter)

    @override
    def forward(self, words: Tensor, images: Tensor | None) -> Tensor:
        """Vectors of the items (C, D) with the words (C, L), 0 where there are no more, and image vectors (C, V)."""
        present = words > 0
        said = self.words(words) * present[:, :, None]
        missing = max(0, self.widest - said.shape[1])
        said = nn.functional.pad(said, (0, 0, 0, missing)).transpose(1, 2)
        found = torch.cat([layer(said).max(dim=2).values for layer in self.filters], dim=1).relu()
        vectors = self.from_text(self.drop(found)) * present.any(dim=1, keepdim=True)
        return vectors if self.from_image is None or images is None else vectors + self.from_image(images)


class ContentCNN(NeuralModel[ContentCNNConfig, _Network]):
    """Scores = ``p . e_i``, with ``e_i`` (D,) what the network makes of the words and the image vector of item i.

    Filters over 1 to 3 neighbouring words, the strongest answer of each, and a linear layer give the text's part of
    ``e_i``; a linear layer gives the image's part, if the items table has a column of vectors; what is missing counts
    0. Nothing belongs to an item but its content, so items that nobody took are scored like all others. A person is
    ``p = nobody + n^-power * sum of e_j`` over the n items of the history (FISM), which in training leaves out the
    item to be predicted; an empty history gets the learned vector ``nobody``. The loss is the softmax over the
    catalogue; where that is larger than `negatives`, over the items of the batch's people and as many drawn ones, each
    logit less the logarithm of the probability that the item is among them (Yi et al., RecSys 2019).

    ConvMF learns a vector for each person and pulls items' vectors, free otherwise, towards the network's; DeepCoNN
    reads reviews by people; both predict ratings. Here people are their histories, items nothing but their content,
    and the network learns from what was taken. The items' vectors are kept for scoring, the texts are not.
    """

    Config = ContentCNNConfig
    per_item = frozenset()
    takes = frozenset({"item_text", "item_vectors"})
    cold_items = True

    _image_dim = 0

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        said: Sequence[str] = [""] * self.n_items if data.items is None else texts(data.items)
        images = None if data.items is None else vectors(data.items)
        if not any(said) and images is None:
            raise ModelError(
                "content_cnn needs a column of text about items or a column of item vectors; add one to the table "
                "'items' or leave the model out."
            )
        self._words = torch.from_numpy(hashed_words(said, self.config.words, self.config.max_length)).to(self.device)
        self._images = None if images is None else torch.from_numpy(_unit_variance(images)).to(self.device)
        self._image_dim = 0 if images is None else images.shape[1]
        matrix = data.histories.matrix(self.n_items)
        self._people = BagStore(matrix[np.diff(matrix.indptr) > 0])
        taken_by = np.bincount(matrix.indices, minlength=self.n_items) / max(1, len(self._people))
        self._taken_by = torch.from_numpy(taken_by.astype(np.float32)).to(self.device)
        return len(self._people)

    @override
    def new_network(self) -> _Network:
        return _Network(self.config, self.n_items, self._image_dim)

    @override
    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        image = tensors.get("from_image.weight")
        self._image_dim = 0 if image is None else image.shape[-1]

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)
        self.network.eval()
        self.pass_ends()

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        bags = self._people.batch(rows, self.device)
        candidates = torch.arange(self.n_items, device=self.device)
        included = torch.ones(self.n_items, device=self.device)
        if self.n_items > self.config.negatives:
            drawn = uniform(self.n_items, self.config.negatives, generator)
            candidates = torch.unique(torch.cat([bags.items, drawn]))
            missed = (1 - self._taken_by[candidates]) ** len(rows)
            included = 1 - missed * (1 - 1 / self.n_items) ** self.config.negatives
        read = self._read(candidates)
        compact = replace(bags, items=torch.searchsorted(candidates, bags.items))
        people = person_vectors_without_each(read, compact, self.config.power) + self.network.nobody
        corrected = torch.cat([read, -included.log()[:, None]], dim=1)
        return softmax_loss(torch.cat([people, people.new_ones(len(people), 1)], dim=1), corrected, compact.items)

    @override
    def pass_ends(self) -> None:
        for part in torch.arange(self.n_items, device=self.device).split(_READ_AT_ONCE):
            self.network.items[part] = self._read(part)

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        bags = BagStore(contexts.matrix(self.n_items)).all(self.device)
        return person_vectors(self.item_vectors(), bags, self.config.power) + self.network.nobody

    @override
    def item_vectors(self) -> Tensor:
        return self.network.items

    def _read(self, items: Tensor) -> Tensor:
        """What the network makes of `items` (C,), float32 (C, D)."""
        images = None if self._images is None else self._images[items]
        return self.network(self._words[items].long(), images).float()


def _unit_variance(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Image vectors (I, V) without their mean, scaled so that their squared length is V on average."""
    centred = images - images.mean(axis=0)
    return centred / max(float(np.sqrt(np.square(centred).mean())), np.finfo(np.float32).tiny)
