"""The one contract of all models: a context in, scores over the catalogue out.

Shapes: B contexts in a batch, I items of the catalogue, D dimensions; J items of a history, K items to be explained.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import TypeVar, override

from recloop.columns import ITEM, USER
from recloop.config import Config
from recloop.data.features import aligned, texts, vector_column
from recloop.data.knowledge import Knowledge
from recloop.data.sequences import Contexts, Examples
from recloop.data.tables import Attributes
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import ModelError
from recloop.nn.private import Mechanism
from recloop.nn.products import inner_products
from recloop.search import Space

T = TypeVar("T")


def silent(steps: Iterable[T], description: str) -> Iterable[T]:
    """A progress display that shows nothing."""
    del description
    return steps


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a model may learn from.

    Attributes:
        histories: one context a training user: every event before the split, nothing after it.
        n_items: size of the catalogue, I.
        valid: questions from between training and test, for early stopping; `None` where there are none.
        items: attributes of the catalogue, row i those of item i, without ids; `None` where no table is there.
        knowledge: a graph about the items, if there is one.

    Attributes of people are the features of `histories`.
    """

    histories: Contexts
    n_items: int
    valid: Examples | None = None
    items: pl.DataFrame | None = None
    knowledge: Knowledge | None = None

    @classmethod
    def from_tables(cls, interactions: pl.DataFrame, catalogue: Vocabulary, attributes: Attributes) -> Self:
        """What there is to learn from canonical interactions and the optional tables, without validation."""
        users = Vocabulary(interactions[USER])
        return cls(
            histories=Contexts.from_frame(interactions, users, catalogue, attributes.users),
            n_items=len(catalogue),
            items=None if attributes.items is None else aligned(attributes.items, ITEM, catalogue),
            knowledge=None if attributes.knowledge is None else Knowledge.from_frame(attributes.knowledge, catalogue),
        )


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """How to train: where, with which randomness, and how to show progress.

    Attributes:
        device: where tensors live.
        seed: seeds every draw; the same seed on the same CPU gives the same model.
        progress: wraps an iterable of steps and shows it under a description.
        privacy: how steps are made private, for models that can (`Model.no_privacy`); `None` for ordinary steps.
    """

    device: torch.device
    seed: int = 0
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = silent
    privacy: Mechanism | None = None


class ModelConfig(Config):
    """Base of the models' parameters.

    Class attributes:
        search: where to look for better values, by parameter; `recloop tune` uses it.
    """

    search: ClassVar[Mapping[str, Space]] = {}


def check_needs(kind: "type[Model]", data: TrainingData) -> None:
    """Refuse data that lack what the model class `kind` needs.

    Raises:
        ModelError: it needs timestamps and no history holds two different ones, or values and all are equal, or a table
            that is not there; the message names it.
    """
    events = data.histories
    within = np.diff(events.rows) == 0
    if "timestamps" in kind.needs and within.any() and not np.diff(events.timestamps)[within].any():
        raise ModelError(
            f"{kind.name()} needs the order of events, but all timestamps of each user are equal; give real timestamps "
            "or leave the model out."
        )
    if "values" in kind.needs and len(events.values) and (events.values == events.values[0]).all():
        raise ModelError(
            f"{kind.name()} needs ratings, but all values are {events.values[0]:g}; give real values or leave the "
            "model out."
        )
    for need, (table, what) in _TABLES.items():
        if need in kind.needs and not _has(need, data):
            raise ModelError(f"{kind.name()} needs {what}; add it to the table '{table}' or leave the model out.")


_TABLES = {
    "item_features": ("items", "attributes of items"),
    "item_text": ("items", "a column of text about items, such as a title or categories"),
    "item_vectors": ("items", "a column of item vectors: lists of equally many numbers"),
    "user_features": ("users", "attributes of people"),
    "knowledge": ("knowledge", "triples about items of the catalogue"),
}
"""What a model may need besides interactions: the table that holds it, and what it is called."""


def _has(need: str, data: TrainingData) -> bool:
    match need:
        case "knowledge":
            return data.knowledge is not None and data.knowledge.about_items()
        case "user_features":
            return data.histories.features is not None and len(data.histories.features.buckets) > 0
        case "item_text":
            return data.items is not None and any(texts(data.items))
        case "item_vectors":
            return data.items is not None and vector_column(data.items) is not None
        case _:
            return data.items is not None and any(column.len() > column.null_count() for column in data.items)


def catalogue(kind: "type[Model]", interactions: pl.DataFrame, items: pl.DataFrame | None) -> Vocabulary:
    """The items that a model of class `kind` knows: those of the interactions, or of the items table too."""
    learnt = interactions[ITEM]
    return Vocabulary(learnt if items is None or not kind.cold_items else pl.concat([learnt, items[ITEM]]))


def answer_nobody(scores: Tensor, contexts: Contexts, popularity: Tensor) -> Tensor:
    """`scores` (B, I) with `popularity` (I,) in place of the rows whose history is empty."""
    scores[torch.from_numpy(contexts.lengths == 0).to(scores.device)] = popularity.to(scores.device)
    return scores


C_co = TypeVar("C_co", bound=ModelConfig, default=ModelConfig, covariant=True)


class Model(ABC, Generic[C_co]):
    """A recommender for a fixed catalogue of I items.

    A model knows items by index, scores the histories of people it has never seen, and is stored as tensors plus its
    configuration. It is constructed untrained; `fit` or `load_tensors` makes it ready.

    Class attributes:
        Config: the type of its parameters, the type argument of the class.
        needs: what it requires of the data: ``timestamps`` (the order of events), ``values`` (ratings), ``item_text``,
            ``item_features``, ``item_vectors``, ``user_features``, ``knowledge``.
        takes: what it makes use of where it is there.
        personal: whether its answer depends on the person: on the history, or on features.
        cold_items: whether it can score items without any interaction: its catalogue is the whole items table.
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    needs: ClassVar[frozenset[str]] = frozenset()
    takes: ClassVar[frozenset[str]] = frozenset()
    personal: ClassVar[bool] = True
    cold_items: ClassVar[bool] = False

    def __init__(self, config: C_co, n_items: int, device: torch.device | None = None) -> None:
        self.config = config
        self.n_items = n_items
        self.device = device or torch.device("cpu")

    @classmethod
    def name(cls) -> str:
        """The model's name: that of its module."""
        return cls.__module__.rpartition(".")[2]

    @abstractmethod
    def fit(self, data: TrainingData, context: FitContext) -> None:
        """Learn from `data`.

        Raises:
            ModelError: the data lack something that the model needs.
        """

    def score(self, contexts: Contexts) -> Tensor:
        """Scores of all items for each context, float32 (B, I) on `device`; higher is better, all finite.

        By default the products of `user_vectors` and `item_vectors`; a model without them says how it scores. An empty
        history gets the model's answer for a person of whom nothing is known. Items of the history are scored like all
        others: leaving them out is the caller's decision.
        """
        people, items = self.user_vectors(contexts), self.item_vectors()
        assert people is not None, f"{self.name()} has neither vectors of people nor a score"
        assert items is not None, f"{self.name()} has neither vectors of items nor a score"
        return inner_products(people, items.detach())

    @property
    def no_warm_start(self) -> str | None:
        """Why it cannot begin with what another model of its kind learned, as part of a sentence; `None` if it can."""
        return "it is not trained in passes"

    @property
    def no_privacy(self) -> str | None:
        """Why its training cannot be made differentially private, as part of a sentence; `None` if it can."""
        return "it is not trained by gradient steps"

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything that was learned; with the configuration it is enough to score."""

    @abstractmethod
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `tensors` of an equal model returned, and move it to `device`."""

    def _tensor(self, tensors: Mapping[str, Tensor], name: str, shape: tuple[int | None, ...]) -> Tensor:
        """One of the stored tensors, on `device`; `None` in `shape` allows any length.

        Raises:
            ModelError: it is missing or has another shape.
        """
        if name not in tensors:
            raise ModelError(f"The tensors of {self.name()} lack '{name}'; train the model again.")
        found = tuple(tensors[name].shape)
        if len(found) != len(shape) or any(n is not None and n != m for n, m in zip(shape, found, strict=True)):
            raise ModelError(
                f"Tensor '{name}' of {self.name()} has shape {found}, not {shape}; train the model again with this "
                "configuration and catalogue."
            )
        return tensors[name].to(self.device)

    def user_vectors(self, contexts: Contexts) -> Tensor | None:
        """Vectors of the contexts, float32 (B, D), whose products with `item_vectors` are the scores, if any."""
        del contexts
        return None

    def item_vectors(self) -> Tensor | None:
        """Vectors of all items, float32 (I, D), if scores factorise."""
        return None

    def similar(self, items: list[int]) -> Tensor:
        """How alike all items are to each of `items`, float32 (B, I); by default the scores of one-item histories.

        Where scores factorise it is the cosine of the item vectors.
        """
        vectors = self.item_vectors()
        if vectors is None:
            return self.score(Contexts.from_lists([[item] for item in items]))
        unit = torch.nn.functional.normalize(vectors, dim=1)
        return unit[torch.as_tensor(items, device=unit.device)] @ unit.T

    def contributions(self, context: Contexts, items: Sequence[int]) -> Tensor | None:
        """What each item of a history adds to the scores of `items`, float32 (J, K), where scores are such sums.

        Rows are the J items of the history, each once, in ascending order; they add up to the scores. By default
        `None`: the scores of this model, or of this history, are no sums over the items of the history. Then, and for
        an empty history, `explanation` leaves out one item after the other.

        Args:
            context: one person's history.
            items: K indices.
        """
        del context, items
        return None


class IterativeModel(Model[C_co]):
    """A model that is trained in passes over the data, so that it can be watched, stopped early and resumed.

    `training.loop` calls `begin` once, then `advance` for each pass. `fit` runs all passes without watching.

    Class attributes:
        per_item: which of `tensors` that are learned have a row an item along their first axis, in the order of the
            catalogue; rows behind the last item, such as a start token, belong to no item. It is said and not guessed,
            because an axis may have the length of the catalogue by chance. Whoever says it can begin with what another
            model learned (`warm_start`); `None` for those that cannot.
    """

    per_item: ClassVar[frozenset[str] | None] = None

    @property
    @override
    def no_warm_start(self) -> str | None:
        return "it does not say which of its weights belong to items" if self.per_item is None else None

    def warm_start(self, tensors: Mapping[str, Tensor], rows: NDArray[np.int64]) -> None:
        """Begin with what another model learned instead of fresh values; `begin` was called before.

        Rows of `per_item` go to the same item. What is learned and belongs to no item is taken as it is; what is
        computed from data is that of the new data. New items begin as `begin` left them, unless the model says
        otherwise.

        Args:
            tensors: `tensors` of a trained model of the same class and configuration.
            rows: int64 (I,), the index of each item in the catalogue of that model; `UNKNOWN` for new items.

        Raises:
            ModelError: the model cannot (`no_warm_start`), or a tensor is missing or has another shape.
        """
        if self.no_warm_start is not None:
            raise ModelError(
                f"{self.name()} cannot begin with what another model learned: {self.no_warm_start}; train it from the "
                "beginning."
            )
        self._take_over(tensors, rows)

    def _take_over(self, tensors: Mapping[str, Tensor], rows: NDArray[np.int64]) -> None:
        """What `warm_start` does in models that can."""
        raise NotImplementedError

    def _carried(
        self, tensors: Mapping[str, Tensor], name: str, fresh: Tensor, rows: NDArray[np.int64] | None = None
    ) -> Tensor:
        """`fresh` with what was learned in its place; rows that have no old one stay fresh.

        Args:
            tensors: see `warm_start`.
            name: which of them.
            fresh: (N + M, ...), or any shape if nothing has rows of its own.
            rows: int64 (N,), the old row of each of the first N rows, `UNKNOWN` for none; M rows behind the last have
                the same place in both. `None` if all is taken as it is.

        Raises:
            ModelError: the tensor is missing or has another shape.
        """
        if rows is None:
            return self._tensor(tensors, name, tuple(fresh.shape))
        learned = self._tensor(tensors, name, (None, *fresh.shape[1:]))
        behind = len(fresh) - len(rows)
        count = len(learned) - behind
        if rows.max(initial=UNKNOWN) >= count:
            raise ModelError(
                f"Tensor '{name}' of {self.name()} has {count} rows, too few for its catalogue; train the model from "
                "the beginning."
            )
        carried, known = fresh.clone(), np.flatnonzero(rows != UNKNOWN)
        carried[torch.from_numpy(known).to(self.device)] = learned[torch.from_numpy(rows[known]).to(self.device)]
        carried[len(rows) :] = learned[count:]
        return carried

    @property
    @abstractmethod
    def epochs(self) -> int:
        """The largest number of passes."""

    @property
    def steps(self) -> int | None:
        """Gradient steps in a pass, known after `begin`; `None` where a pass solves for the parameters instead."""
        return None

    @abstractmethod
    def begin(self, data: TrainingData, context: FitContext) -> None:
        """Prepare for training: initial parameters, optimiser, random generator."""

    @abstractmethod
    def advance(self, context: FitContext) -> float:
        """One pass over the training data; returns its mean loss. After it the model can score.

        The caller shows the progress of passes, and a terminal has room for one bar: a pass shows none of its own.
        """

    @abstractmethod
    def training_state(self) -> dict[str, Any]:
        """All that is needed to go on as if never interrupted: tensors, numbers and strings in dicts and lists."""

    @abstractmethod
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take what `training_state` returned; `begin` was called before with the same data."""

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        """Run all passes."""
        self.begin(data, context)
        quiet = replace(context, progress=silent)
        for _ in context.progress(range(self.epochs), self.name()):
            self.advance(quiet)
