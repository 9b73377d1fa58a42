"""Business rules: what may be shown at all, what is put forward, and of what there may be only so much.

Filters and exclusions are applied before the best items are chosen, so there are as many candidates as without them.
Boosts, freshness and caps then change the order of the candidates, or take some out, before the policy chooses: the
policy's propensities are those of what was really possible.

Shapes: I items of the catalogue, N candidates.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from recloop.columns import CATEGORIES, ITEM
from recloop.config import Config
from recloop.errors import ConfigError, DataError
from recloop.serving.bundle import Bundle
from recloop.serving.filters import Filter, Filters, Value
from recloop.serving.side import age_in_days

KEPT = 64
"""Filters whose answer over the whole catalogue is kept, I bytes each."""


class Boost(Config):
    """Items that are put forward, or held back.

    Attributes:
        filters: which.
        by: what is added to their scores, in units of the spread of the person's candidates (the best score less the
            worst); negative holds them back.
    """

    filters: Filters = Field(min_length=1)
    by: float = Field(allow_inf_nan=False)


class Freshness(Config):
    """New items are put forward.

    Attributes:
        by: what is added to the score of an item that is brand new, in units of the candidates' spread.
        half_life_days: after how many days since the item's first event half of it is left; items without any event
            count as brand new.
    """

    by: float = Field(gt=0, allow_inf_nan=False)
    half_life_days: float = Field(default=7.0, gt=0)


class RulesConfig(Config):
    """The rules of every answer; a request may filter further.

    Attributes:
        filters: attribute -> what it must be; all must hold.
        exclude: item ids that are never recommended.
        boosts: added up.
        freshness: `None` for none.
        caps: category -> how many of the candidates may be of it, the best first; so no slate holds more.
    """

    filters: Filters = Field(default={})
    exclude: list[str] = Field(default=[])
    boosts: list[Boost] = Field(default=[])
    freshness: Freshness | None = None
    caps: dict[str, Annotated[int, Field(ge=0)]] = Field(default={})


class Rules:
    """The rules over one bundle's catalogue. Its methods may be called by several threads.

    Args:
        bundle: whose items.
        config: the rules.

    Raises:
        ConfigError: a rule names an attribute that the items lack.
    """

    def __init__(self, bundle: Bundle, config: RulesConfig) -> None:
        self._items, self._config = bundle.items.drop(ITEM), config
        self._answers: OrderedDict[str, NDArray[np.bool_]] = OrderedDict()
        self._keeping = Lock()
        if config.caps and CATEGORIES not in bundle.items.columns:
            raise ConfigError(
                f"{bundle.id}: serve.rules.caps counts categories, but its items have no column '{CATEGORIES}'; "
                "ingest data with categories, or leave the caps out."
            )
        try:
            self._boosts = [(one.by, self.where(one.filters)) for one in config.boosts]
            self._allowed = self.where(config.filters) if config.filters else None
        except DataError as error:
            raise ConfigError(f"{bundle.id}: serve.rules: {error}") from None
        if config.exclude:
            allowed = np.ones(len(bundle.vocabulary), dtype=np.bool_) if self._allowed is None else self._allowed.copy()
            allowed[np.isin(bundle.vocabulary.ids.to_numpy(), config.exclude)] = False
            self._allowed = allowed
        fresh = config.freshness
        self._fresh = None if fresh is None else fresh.by * 0.5 ** (_age(bundle) / fresh.half_life_days)
        self._capped = {name: self._has(CATEGORIES, [name]) for name in config.caps}

    def allowed(self, filters: Mapping[str, Filter]) -> NDArray[np.bool_] | None:
        """Which items may be recommended, bool (I,); `None` if all may.

        Raises:
            DataError: the items have no such attribute, or it cannot be asked that.
        """
        if not filters:
            return self._allowed
        asked = self.where(filters)
        return asked if self._allowed is None else asked & self._allowed

    def where(self, filters: Mapping[str, Filter]) -> NDArray[np.bool_]:
        """For which items all filters hold, bool (I,), not to be changed.

        Raises:
            DataError: see `allowed`.
        """
        key = json.dumps({name: one.model_dump() for name, one in filters.items()}, sort_keys=True)
        with self._keeping:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
                return found
        found = np.ones(self._items.height, dtype=np.bool_)
        for name, one in filters.items():
            found &= self._passes(name, one)
        found.setflags(write=False)
        with self._keeping:
            self._answers[key] = found
            if len(self._answers) > KEPT:
                self._answers.popitem(last=False)
        return found

    def apply(
        self, items: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The candidates (N,), best first, as boosts, freshness and caps would have them."""
        if len(items) and (self._boosts or self._fresh is not None):
            spread = float(scores[0]) - float(scores[-1])
            more = np.zeros(len(items))
            for by, which in self._boosts:
                more += by * which[items]
            if self._fresh is not None:
                more += self._fresh[items]
            boosted = (scores + spread * more).astype(np.float32)
            order = np.argsort(-boosted, kind="stable")
            items, scores = items[order], boosted[order]
        for name, most in self._config.caps.items():
            of_it = self._capped[name][items]
            kept = ~of_it | (np.cumsum(of_it) <= most)
            items, scores = items[kept], scores[kept]
        return items, scores

    def _passes(self, name: str, one: Filter) -> NDArray[np.bool_]:
        if name not in self._items.columns:
            known = ", ".join(sorted(self._items.columns)) or "none"
            raise DataError(f"filters: the items have no attribute '{name}'; known ones are: {known}.")
        column, passes = self._items[name], np.ones(self._items.height, dtype=np.bool_)
        if one.any_of is not None:
            passes &= self._has(name, one.any_of)
        if one.none_of is not None:
            passes &= ~self._has(name, one.none_of)
        if one.at_least is not None or one.at_most is not None:
            if not column.dtype.is_numeric():
                raise DataError(f"filters: '{name}' is no number, so it has no bounds; ask for any_of or none_of.")
            if one.at_least is not None:
                passes &= (column >= one.at_least).fill_null(value=False).to_numpy()
            if one.at_most is not None:
                passes &= (column <= one.at_most).fill_null(value=False).to_numpy()
        return passes

    def _has(self, name: str, values: Sequence[Value]) -> NDArray[np.bool_]:
        """Whether the attribute is one of these, or has one of them in its list."""
        column = self._items[name]
        flat = pl.DataFrame({"row": np.arange(len(column)), "value": column})
        if isinstance(column.dtype, pl.List):
            flat = flat.explode("value")
        kind = flat.schema["value"]
        if kind.is_nested() or kind.is_temporal():
            raise DataError(f"filters: '{name}' is neither text nor a number; ask for another attribute.")
        if not kind.is_numeric() and kind != pl.Boolean:
            kind, flat = pl.String(), flat.with_columns(pl.col("value").cast(pl.String))
        rows = flat.filter(pl.col("value").is_in(_values(values, kind)))["row"].to_numpy()
        found = np.zeros(len(column), dtype=np.bool_)
        found[rows] = True
        return found


def _values(values: Sequence[Value], kind: pl.DataType) -> pl.Series:
    """Those of the values that an attribute of this kind can have."""
    fitting: list[Any] = [one for one in values if isinstance(one, str)]
    if kind == pl.Boolean:
        fitting = [one for one in values if isinstance(one, bool)]
    elif kind.is_numeric():
        numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
        fitting = [int(one) for one in numbers if one == one // 1] if kind.is_integer() else numbers
    return pl.Series(fitting, dtype=kind, strict=False)


def _age(bundle: Bundle) -> NDArray[np.float64]:
    """Days since each item's first event; 0 for items without any."""
    age = age_in_days(bundle)
    return np.where(np.isinf(age), 0.0, age)
