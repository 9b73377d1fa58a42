"""A small world for models of neural collaborative filtering, and their people by hand."""

from typing import TypeVar

import torch

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural_cf import NeuralCF

M = TypeVar("M", bound=NeuralCF)

CONTEXT = FitContext(device=torch.device("cpu"), seed=1)
WORLD = TrainingData(histories=Contexts.from_lists([[0, 1, 2], [0, 2], [], [3, 1], [4]]), n_items=5)


def small(kind: type[M], **parameters: object) -> M:
    """A model of vectors of length 4 that has made one pass over the world."""
    model = kind(kind.Config.model_validate({"dim": 4, "epochs": 1} | parameters), 5)
    model.fit(WORLD, CONTEXT)
    return model


def person(model: NeuralCF, items: list[int]) -> torch.Tensor:
    """``nobody + n^-0.5 * sum``, by hand."""
    vectors = model.network.history.items.weight[items].sum(dim=0) / max(1, len(items)) ** 0.5
    return (model.network.nobody + vectors).detach()
