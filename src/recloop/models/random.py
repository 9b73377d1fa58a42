"""A random order of the catalogue: what a metric is worth if nothing is known.

Shapes: B contexts, I items.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData


class RandomConfig(ModelConfig):
    """Parameters of `Random`: it has none, the seed of the training is all that counts."""


class Random(Model[RandomConfig]):
    """Score of an item = a number from 0 to 1 that is drawn when the model is trained, and then kept.

    The scores follow from the seed and the number of items alone, on every device. Everybody gets the same, with or
    without a history, so a trained model answers the same question alike each time. The expected value of a metric is
    that of an order drawn for each person anew; its spread over seeds is larger.
    """

    Config = RandomConfig
    personal = False

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        generator = torch.Generator().manual_seed(context.seed)
        self.load_tensors({"scores": torch.rand(self.n_items, generator=generator)})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return self._scores.expand(len(contexts), -1).clone()

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"scores": self._scores}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._scores = self._tensor(tensors, "scores", (self.n_items,))
