"""The catalogue for people: the titles of items, and a search by the beginnings of their words.

The index is one sorted list of the distinct words of titles and ids, and for each the items that have it, one after
another in one array. Words that begin alike lie side by side, so the items of a beginning are one slice of that
array: a search takes two bisections and one pass over a mask of the catalogue for each word asked for.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop.columns import CATEGORIES, TITLE
from recloop.data.vocabulary import UNKNOWN
from recloop.serving.bundle import Bundle
from recloop.serving.recommender import Recommender

TITLES = (TITLE, "name")
"""Columns that hold a title, in whatever case; the first text column of this name is taken."""
_AFTER = "\U0010ffff"
"""Sorts behind whatever follows a beginning."""
_WORD = re.compile(r"\w+")


class Entry(NamedTuple):
    """An item as people know it.

    Attributes:
        item_id: its id.
        title: its title, or its id where it has none.
        categories: where they are known.
    """

    item_id: str
    title: str
    categories: list[str]


class Index:
    """Finds the items of a catalogue by words. I items, W distinct words, P pairs of an item and a word of it.

    Args:
        ids: the items' ids, I.
        titles: their titles, I; null where there is none.
        order: int64 (I,), the items in the order in which they are found.
    """

    def __init__(self, ids: Iterable[str], titles: Iterable[str | None], order: NDArray[np.int64]) -> None:
        self._order = order
        holders: dict[str, list[int]] = {}
        for item, (item_id, title) in enumerate(zip(ids, titles, strict=True)):
            for word in {*words(item_id), *words(title or "")}:
                holders.setdefault(word, []).append(item)
        self._words = sorted(holders)
        lengths = [0, *(len(holders[word]) for word in self._words)]
        self._offsets = np.cumsum(lengths, dtype=np.int64)
        self._items = np.fromiter(
            (item for word in self._words for item in holders[word]), dtype=np.int32, count=int(self._offsets[-1])
        )

    def search(self, query: str, limit: int) -> NDArray[np.int64]:
        """The first `limit` items that have, for each word of the query, a word that begins with it.

        All items are found where the query has no words.
        """
        found = np.ones(len(self._order), dtype=np.bool_)
        for word in set(words(query)):
            begin, end = bisect_left(self._words, word), bisect_left(self._words, word + _AFTER)
            having = np.zeros(len(self._order), dtype=np.bool_)
            having[self._items[self._offsets[begin] : self._offsets[end]]] = True
            found &= having
        return self._order[found[self._order]][:limit]


class Catalogues:
    """The indices of the bundles that are searched, made when a bundle is first searched, and gone with it.

    They are made in a thread of their own, one after another. Methods may be called by several threads.
    """

    def __init__(self) -> None:
        self._indices: WeakKeyDictionary[Recommender, Future[Index]] = WeakKeyDictionary()
        self._changing = Lock()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="catalogue")

    def of(self, recommender: Recommender) -> Future[Index]:
        """The index of a bundle, which may be still in the making."""
        with self._changing:
            index = self._indices.get(recommender)
            if index is None:
                index = self._indices[recommender] = self._maker.submit(index_of, recommender.bundle)
            return index

    def close(self) -> None:
        """Make no more of them."""
        self._maker.shutdown(wait=False, cancel_futures=True)


def index_of(bundle: Bundle) -> Index:
    """The index of a bundle; items are found in the order of their events in its histories, most first."""
    ids, column = bundle.vocabulary.ids, title_column(bundle.items)
    events = np.bincount(bundle.histories.items, minlength=len(ids))
    titles: Iterable[str | None] = bundle.items[column] if column else [None] * len(ids)
    return Index(ids, titles, np.argsort(-events, kind="stable"))


def entries(bundle: Bundle, items: Sequence[int] | NDArray[np.int64]) -> list[Entry]:
    """What people know of these items of a bundle, by their indices."""
    rows, column = bundle.items[np.asarray(items, dtype=np.int64)], title_column(bundle.items)
    ids = bundle.vocabulary.decode(items)
    titles = rows[column].to_list() if column else [None] * len(ids)
    kinds = rows[CATEGORIES].to_list() if CATEGORIES in rows.columns else [None] * len(ids)
    return [
        Entry(item_id, title or item_id, _texts(kind)) for item_id, title, kind in zip(ids, titles, kinds, strict=True)
    ]


def known(bundles: Iterable[Bundle], ids: Iterable[str]) -> list[Entry]:
    """What people know of items by their ids, from the first bundle that holds each; others are left out."""
    left, found = list(dict.fromkeys(ids)), list[Entry]()
    for bundle in bundles:
        indices = [index for index in map(bundle.vocabulary.index, left) if index != UNKNOWN]
        found += entries(bundle, indices)
        left = [item_id for item_id in left if bundle.vocabulary.index(item_id) == UNKNOWN]
    return found


def title_column(items: pl.DataFrame) -> str | None:
    """The column that holds titles, if there is one."""
    texts = [name for name, kind in items.schema.items() if kind == pl.String]
    return next((name for name in texts if name.lower() in TITLES), None)


def words(text: str) -> list[str]:
    """The words of a text, without case and accents."""
    plain = unicodedata.normalize("NFKD", text)
    return _WORD.findall("".join(sign for sign in plain if not unicodedata.combining(sign)).casefold())


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(one) for one in values if one is not None]
