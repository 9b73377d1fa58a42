"""What a bundle knows of its items besides their scores, for the policies that ask for it.

Shapes: I items of the catalogue, N candidates, D dimensions, C categories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop.columns import CATEGORIES
from recloop.errors import ConfigError
from recloop.policies import Candidates, Clicks, ScoredClicks
from recloop.serving.bundle import Bundle

DAY = 86_400_000_000
_LACKS = {
    "vectors": "its model has no item vectors; choose a model of vectors, or other parameters of the policy",
    "categories": f"its items have no column '{CATEGORIES}'; ingest data with categories",
    "history_categories": f"its items have no column '{CATEGORIES}'; ingest data with categories",
    "clicks": "it comes without click statistics; give them to the recommender",
    "scored_clicks": "it comes without click statistics of scores; give them to the recommender",
}


LEARNT = frozenset({"clicks", "scored_clicks"})
"""Fields of `Candidates` that are not of the bundle, but of what people did with slates."""


class Statistics(Protocol):
    """What people did with slates so far, by raw id, so that it serves bundles of any catalogue."""

    def clicks(self, item_ids: Sequence[str]) -> Clicks:
        """Of these N items, as known at this moment."""
        ...

    def scored_clicks(self, bundle: str, item_ids: Sequence[str]) -> ScoredClicks:
        """The same of the slates that the bundle of this id made."""
        ...


@dataclass(frozen=True, kw_only=True)
class Side:
    """Arrays over the whole catalogue; `None` where no policy asked for them. The meaning is that of `Candidates`.

    Attributes:
        vectors: float32 (I, D).
        categories: float64 (I, C).
        popularity: float64 (I,).
        age: float64 (I,).
        clicks: of any N items, by their indices (N,), as known when it is called.
        scored_clicks: likewise.
    """

    vectors: NDArray[np.float32] | None = None
    categories: NDArray[np.float64] | None = None
    popularity: NDArray[np.float64] | None = None
    age: NDArray[np.float64] | None = None
    clicks: Callable[[NDArray[np.int64]], Clicks] | None = None
    scored_clicks: Callable[[NDArray[np.int64]], ScoredClicks] | None = None

    @classmethod
    def of(
        cls, bundle: Bundle, needs: frozenset[str], policy: str, clicks: Clicks | Statistics | None = None
    ) -> "Side":
        """What `policy`, which `needs` these fields of `Candidates`, must know of the bundle's items.

        Args:
            bundle: what knows most of it.
            needs: fields of `Candidates`.
            policy: its name.
            clicks: of each item of the catalogue, both (I,), or where they are counted, with the scores or without.

        Raises:
            ConfigError: the bundle lacks something that is needed.
        """
        found: dict[str, Any] = {}
        if "vectors" in needs:
            vectors = bundle.model.item_vectors()
            found["vectors"] = None if vectors is None else vectors.float().cpu().numpy()
        if needs & {"categories", "history_categories"}:
            found["categories"] = shares(bundle.items)
        if "popularity" in needs:
            counts = np.bincount(bundle.histories.items, minlength=len(bundle.vocabulary))
            found["popularity"] = counts.astype(np.float64)
        if "age" in needs:
            found["age"] = age_in_days(bundle)
        if "clicks" in needs and clicks is not None:
            found["clicks"] = clicks.take if isinstance(clicks, Clicks) else _counted(bundle, clicks)
        if "scored_clicks" in needs and clicks is not None and not isinstance(clicks, Clicks):
            found["scored_clicks"] = _counted_with_scores(bundle, clicks)
        for need in sorted(needs):
            if found.get("categories" if need == "history_categories" else need) is None:
                raise ConfigError(f"{bundle.id}: the policy '{policy}' needs {need}, but {_LACKS[need]}.")
        return cls(**found)

    def candidates(
        self, items: NDArray[np.int64], scores: NDArray[np.float32], history: NDArray[np.int64]
    ) -> Candidates:
        """What is known of these N items, best first, for a person with this history of item indices."""
        categories = self.categories
        return Candidates(
            items=items,
            scores=scores,
            vectors=None if self.vectors is None else self.vectors[items],
            categories=None if categories is None else categories[items],
            history_categories=None if categories is None else _mean(categories[history]),
            popularity=None if self.popularity is None else self.popularity[items],
            age=None if self.age is None else self.age[items],
            clicks=None if self.clicks is None else self.clicks(items),
            scored_clicks=None if self.scored_clicks is None else self.scored_clicks(items),
        )


def shares(items: pl.DataFrame) -> NDArray[np.float64] | None:
    """How much of each item belongs to each category, (I, C), the categories sorted, those of an item in equal parts.

    A cell of the column `categories` is a list, or one category. `None` without that column or with no category at all.
    """
    if CATEGORIES not in items.columns:
        return None
    column = items[CATEGORIES]
    if not isinstance(column.dtype, pl.List):
        column = column.cast(pl.String).reshape((-1, 1)).arr.to_list()
    pairs = pl.DataFrame({"row": np.arange(items.height), "name": column}).explode("name").drop_nulls().unique()
    if pairs.is_empty():
        return None
    name = pairs["name"].rank("dense").to_numpy().astype(np.int64) - 1
    counts = np.zeros((items.height, int(name.max()) + 1))
    counts[pairs["row"].to_numpy(), name] = 1.0
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)


def _counted(bundle: Bundle, statistics: Statistics) -> Callable[[NDArray[np.int64]], Clicks]:
    return lambda items: statistics.clicks(bundle.vocabulary.decode(items))


def _counted_with_scores(bundle: Bundle, statistics: Statistics) -> Callable[[NDArray[np.int64]], ScoredClicks]:
    return lambda items: statistics.scored_clicks(bundle.id, bundle.vocabulary.decode(items))


def _mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the rows that are not zero, made to sum to 1; zeros where there are none."""
    total = rows.sum(axis=0)
    return total / max(total.sum(), np.finfo(np.float64).tiny)


def age_in_days(bundle: Bundle) -> NDArray[np.float64]:
    """(I,), days from each item's first event to the newest event of all; infinite for items without any."""
    history = bundle.histories
    first = np.full(len(bundle.vocabulary), np.iinfo(np.int64).max)
    np.minimum.at(first, history.items, history.timestamps)
    newest = history.timestamps.max(initial=0)
    return np.where(first == np.iinfo(np.int64).max, np.inf, (newest - first) / DAY)
