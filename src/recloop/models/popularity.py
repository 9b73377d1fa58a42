"""The most interacted items for everybody: the baseline that every other model has to beat.

Shapes: B contexts, I items.
"""

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData

_DAY = 86_400_000_000


class PopularityConfig(ModelConfig):
    """Parameters of `Popularity`.

    Attributes:
        half_life_days: an event this many days older than the newest counts half; `None` counts all alike.
    """

    half_life_days: float | None = Field(default=None, gt=0)


class Popularity(Model[PopularityConfig]):
    """Score of an item = its number of training events, each weighted by ``0.5 ** (age / half_life_days)``.

    The age of an event is the time between it and the newest training event. The history of a context plays no role.
    """

    Config = PopularityConfig
    personal = False

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        events, weights = data.histories, None
        if self.config.half_life_days is not None and len(events.items):
            days = (events.timestamps.max() - events.timestamps) / _DAY
            weights = np.exp2(-days / self.config.half_life_days)
        counts = np.bincount(events.items, weights=weights, minlength=self.n_items)
        self.load_tensors({"counts": torch.from_numpy(counts.astype(np.float32))})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return self._counts.expand(len(contexts), -1).clone()

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"counts": self._counts}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._counts = self._tensor(tensors, "counts", (self.n_items,))
