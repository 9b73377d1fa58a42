"""A knowledge graph in indices: what is said about items, as triples of entities and relations.

Shapes: T triples.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop.columns import HEAD, ITEM_ENTITY, RELATION, TAIL
from recloop.data.vocabulary import UNKNOWN, Vocabulary


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """T triples; the entities from 0 to I - 1 are the items of the catalogue, in its order.

    Attributes:
        heads: int64 (T,), entities.
        relations: int64 (T,).
        tails: int64 (T,), entities.
        n_items: I.
        n_entities: items and all others.
        n_relations: kinds of relation.
    """

    heads: NDArray[np.int64]
    relations: NDArray[np.int64]
    tails: NDArray[np.int64]
    n_items: int
    n_entities: int
    n_relations: int

    def __len__(self) -> int:
        return len(self.heads)

    @classmethod
    def from_frame(cls, triples: pl.DataFrame, items: Vocabulary) -> "Knowledge":
        """The canonical table in indices; an item is named by its id, or by its id after ``item:``."""
        relations = Vocabulary(triples[RELATION])
        names = pl.concat([triples[HEAD], triples[TAIL]]).str.strip_prefix(ITEM_ENTITY)
        others = Vocabulary(names.filter(pl.Series(items.encode(names) == UNKNOWN)))
        ends = [_entities(triples[column].str.strip_prefix(ITEM_ENTITY), items, others) for column in (HEAD, TAIL)]
        return cls(
            heads=ends[0],
            relations=relations.encode(triples[RELATION]),
            tails=ends[1],
            n_items=len(items),
            n_entities=len(items) + len(others),
            n_relations=len(relations),
        )

    def about_items(self) -> bool:
        """Whether any triple has an item as its head or tail."""
        return bool((self.heads < self.n_items).any() or (self.tails < self.n_items).any())


def _entities(names: pl.Series, items: Vocabulary, others: Vocabulary) -> NDArray[np.int64]:
    item = items.encode(names)
    return np.where(item == UNKNOWN, len(items) + others.encode(names), item)
