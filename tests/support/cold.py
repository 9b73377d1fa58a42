"""The world of `planted` with items that nobody has taken yet, and people of whom nothing but attributes is known."""

import numpy as np
from torch import Tensor

from recloop.data.sequences import Contexts
from recloop.models.base import Model, TrainingData
from tests.support.planted import CLUSTERS, ITEMS_EACH, N_ITEMS, cluster, contexts, data, planted

NEW = [item for item in range(N_ITEMS) if item % ITEMS_EACH >= ITEMS_EACH - 2]
"""Two items of each cluster that occur in no history."""


def before_they_came() -> TrainingData:
    """The world's histories without the new items, which the items table and the catalogue hold."""
    return data([[item for item in history if item not in NEW] for history in planted()])


def auc_of_new_items(model: Model) -> float:
    """How often a new item of the person's own cluster is scored above a new item of another; chance is 0.5."""
    asked = contexts([[own, own + 1, own + 2] for own in range(0, N_ITEMS, ITEMS_EACH)])
    return _auc(model.score(asked)[:, NEW], NEW)


def auc_of_strangers(model: Model) -> float:
    """The same over all items, for people without history of whom attributes alone are known."""
    return _auc(model.score(strangers()), list(range(N_ITEMS)))


def strangers() -> Contexts:
    """One person of each cluster, with attributes and no history."""
    people = contexts([[own] for own in range(0, N_ITEMS, ITEMS_EACH)])
    return people.take(np.arange(CLUSTERS), np.zeros(CLUSTERS, dtype=np.int64))


def _auc(scores: Tensor, items: list[int]) -> float:
    clusters = np.array([cluster(item) for item in items])
    found = scores.numpy()
    shares = []
    for row in range(CLUSTERS):
        own, other = found[row, clusters == row], found[row, clusters != row]
        above = np.sign(own[:, None] - other[None, :])
        shares.append((1 + above.mean()) / 2)
    return float(np.mean(shares))
