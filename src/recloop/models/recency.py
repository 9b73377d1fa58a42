"""What is taken most these days, for everybody: popularity that forgets.

Ji, Sun, Zhang and Li, "A re-visit of the popularity baseline in recommender systems", SIGIR 2020.
Shapes: B contexts, I items, N training events.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, check_needs
from recloop.search import Real, Space

_DAY = 86_400_000_000


class RecencyConfig(ModelConfig):
    """Parameters of `Recency`.

    Attributes:
        half_life_days: an event that is this many days older counts half.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "half_life_days": Real(0.5, 365.0, log=True),
    }

    half_life_days: float = Field(default=30.0, gt=0)


class Recency(Model[RecencyConfig]):
    """Score of item i = ``log2 sum_e 0.5 ** (age_e / half_life_days)`` over its training events e.

    The age of an event is the time between it and the newest training event of anybody. The logarithm keeps the order
    and, unlike the sum, still tells items apart whose last event is thousands of half-lives ago. An item without events
    scores 1 below the lowest. The history of a context plays no role, so an empty one gets the same answer. The paper
    counts the events of the time right before each question; here time stops at the end of training, and events fade
    instead of being cut off.
    """

    Config = RecencyConfig
    needs = frozenset({"timestamps"})
    personal = False

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        check_needs(type(self), data)
        events = data.histories
        newest = events.timestamps.max(initial=np.iinfo(np.int64).min)
        halvings = (newest - events.timestamps) / (_DAY * self.config.half_life_days)
        scores = _log2_sums(events.items, -halvings, self.n_items)
        self.load_tensors({"scores": torch.from_numpy(scores.astype(np.float32))})

    @override
    def score(self, contexts: Contexts) -> Tensor:
        return self._scores.expand(len(contexts), -1).clone()

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"scores": self._scores}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._scores = self._tensor(tensors, "scores", (self.n_items,))


def _log2_sums(items: NDArray[np.int64], exponents: NDArray[np.float64], n_items: int) -> NDArray[np.float64]:
    """``log2 sum 2 ** exponents`` of each item's events, (I,); 1 below the lowest for items without events.

    The largest exponent of an item is taken out of its sum, which therefore neither overflows nor becomes 0.
    """
    largest = np.full(n_items, -np.inf)
    np.maximum.at(largest, items, exponents)
    seen = np.isfinite(largest)
    sums = np.bincount(items, weights=np.exp2(exponents - largest[items]), minlength=n_items)
    scores = np.where(seen, largest, 0.0) + np.log2(np.where(seen, sums, 1.0))
    scores[~seen] = scores[seen].min() - 1 if seen.any() else 0.0
    return scores
