"""The one contract of all models: a context in, scores over the catalogue out.

Shapes: B contexts in a batch, I items of the catalogue, D dimensions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor

from recloop.config import Config
from recloop.data.sequences import Contexts, Examples

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
    """

    histories: Contexts
    n_items: int
    valid: Examples | None = None


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """How to train: where, with which randomness, and how to show progress.

    Attributes:
        device: where tensors live.
        seed: seeds every draw; the same seed on the same CPU gives the same model.
        progress: wraps an iterable of steps and shows it under a description.
    """

    device: torch.device
    seed: int = 0
    progress: Callable[[Iterable[Any], str], Iterable[Any]] = silent


class ModelConfig(Config):
    """Base of the models' parameters."""


class Model(ABC):
    """A recommender for a fixed catalogue of I items.

    A model knows items by index, scores the histories of people it has never seen, and is stored as tensors plus its
    configuration. It is constructed untrained; `fit` or `load_tensors` makes it ready.

    Class attributes:
        Config: the type of its parameters.
        needs: what it requires of the data: ``timestamps`` (the order of events), ``values`` (ratings).
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: ModelConfig, n_items: int, device: torch.device | None = None) -> None:
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

    @abstractmethod
    def score(self, contexts: Contexts) -> Tensor:
        """Scores of all items for each context, float32 (B, I) on `device`; higher is better, all finite.

        An empty history gets the model's answer for a person of whom nothing is known. Items of the history are scored
        like all others: leaving them out is the caller's decision.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything that was learned; with the configuration it is enough to score."""

    @abstractmethod
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `tensors` of an equal model returned, and move it to `device`."""

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


class IterativeModel(Model):
    """A model that is trained in passes over the data, so that it can be watched, stopped early and resumed.

    `training.loop` calls `begin` once, then `advance` for each pass. `fit` runs all passes without watching.
    """

    @property
    @abstractmethod
    def epochs(self) -> int:
        """The largest number of passes."""

    @abstractmethod
    def begin(self, data: TrainingData, context: FitContext) -> None:
        """Prepare for training: initial parameters, optimiser, random generator."""

    @abstractmethod
    def advance(self, context: FitContext) -> float:
        """One pass over the training data; returns its mean loss. After it the model can score."""

    @abstractmethod
    def training_state(self) -> dict[str, Any]:
        """All that is needed to go on as if never interrupted: tensors, numbers and strings in dicts and lists."""

    @abstractmethod
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take what `training_state` returned; `begin` was called before with the same data."""

    def fit(self, data: TrainingData, context: FitContext) -> None:
        """Run all passes."""
        self.begin(data, context)
        for _ in cast("Iterable[int]", context.progress(range(self.epochs), self.name())):
            self.advance(context)
