"""A model whose losses and quality are written down, and data to train it on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recloop.data.sequences import Contexts, Examples
from recloop.models.base import FitContext, IterativeModel, ModelConfig, TrainingData


class Scripted(IterativeModel):
    """After pass n it places item 0 as `places[n - 1]` says; its only tensor is the number of the pass.

    Args:
        places: rank of item 0 after each pass, from 0.
        losses: loss of each pass; 1 where not given.
        steps: gradient steps that a pass has.
    """

    def __init__(
        self, places: Sequence[int], losses: Mapping[int, float] | None = None, steps: int | None = None
    ) -> None:
        super().__init__(ModelConfig(), 5)
        self.places, self.losses, self.passes = places, losses or {}, 0
        self.begun, self._steps = 0, steps

    @property
    def steps(self) -> int | None:
        return self._steps

    @property
    def epochs(self) -> int:
        return len(self.places)

    def begin(self, data: TrainingData, context: FitContext) -> None:
        self.passes, self.begun = 0, self.begun + 1

    def advance(self, context: FitContext) -> float:
        self.passes += 1
        return self.losses.get(self.passes, 1.0)

    def score(self, contexts: Contexts) -> Tensor:
        scores = torch.arange(5, 0, -1).float()
        scores[0] = 4.5 - self.places[self.passes - 1]
        return scores.expand(len(contexts), -1)

    def tensors(self) -> dict[str, Tensor]:
        return {"passes": torch.tensor(self.passes)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.passes = int(tensors["passes"])

    def training_state(self) -> dict[str, Any]:
        return {"passes": self.passes}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self.passes = state["passes"]


class ScriptedRatings(Scripted):
    """After pass n it predicts ``places[n - 1]`` for every item."""

    needs = frozenset({"values"})

    def score(self, contexts: Contexts) -> Tensor:
        return torch.full((len(contexts), 5), float(self.places[self.passes - 1]))


def questions(contexts: list[list[int]], targets: list[int], users: list[int] | None = None) -> Examples:
    """One target an example; by default each example has its own user."""
    count = len(targets)
    return Examples(
        histories=Contexts.from_lists(contexts),
        users=np.arange(count) if users is None else np.array(users),
        stops=np.array([len(contexts[user]) for user in (users or range(count))]),
        offsets=np.arange(count + 1),
        targets=np.array(targets),
        values=np.ones(count, dtype=np.float32),
    )


def data(valid: Examples | None, ratings: Sequence[float] | None = None) -> TrainingData:
    """Two people with three events; `ratings` are the values of these."""
    histories = Contexts.from_lists([[0, 1], [2]])
    if ratings is not None:
        histories = replace(histories, values=np.array(ratings, dtype=np.float32))
    return TrainingData(histories=histories, n_items=5, valid=valid)
