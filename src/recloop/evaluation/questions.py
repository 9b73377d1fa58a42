"""The questions of an evaluation: the same ones, in the same order, for every model whatever its catalogue.

What is asked is decided once, on raw ids: which targets there are, which are dropped as already seen, which users are
drawn. Only then are the questions put into the indices of a model's catalogue. So a champion of an earlier data version
and a challenger of this one answer the same questions, and a target that one of them does not know is a miss for it.

Shapes: E examples, U users, I items of train, validation and test, T targets.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop.columns import ITEM, USER
from recloop.data.sequences import Contexts, Examples
from recloop.data.splits import Strategy, Targets, examples, unprompted
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import DataError
from recloop.evaluation.slices import Facts


@dataclass(frozen=True, kw_only=True)
class Questions:
    """E questions about what people did in the test window.

    Attributes:
        facts: the questions in indices of `items`, and what is known of users and items.
        items: every item that occurs in train, validation or test.
        users: the people of the test window; the index is the row of ``facts.examples.histories``.
        times: int64 (E,), when each question is asked, microseconds since 1970 UTC; its context is what lies before.
        available: how many questions there were before a sample was drawn.
        mask_seen: whether items of the context may not be recommended; targets among them were dropped.
        left_out: events of the test window that are not asked for because they followed from a slate.
    """

    facts: Facts
    items: Vocabulary
    users: Vocabulary
    times: NDArray[np.int64]
    available: int
    mask_seen: bool
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.facts.examples)

    def examples(self, catalogue: Vocabulary) -> Examples:
        """The questions in indices of `catalogue`: other items leave the contexts, as targets they are `UNKNOWN`."""
        asked = self.facts.examples
        index = catalogue.encode(self.items.ids)
        item = index[asked.histories.items]
        known = item != UNKNOWN
        before = np.concatenate([[0], np.cumsum(known)]).astype(np.int64)
        starts = asked.histories.offsets[asked.users]
        histories = Contexts(
            offsets=before[asked.histories.offsets],
            items=item[known],
            timestamps=asked.histories.timestamps[known],
            values=asked.histories.values[known],
            features=asked.histories.features,
        )
        stops = before[starts + asked.stops] - before[starts]
        return replace(asked, histories=histories, stops=stops, targets=index[asked.targets])

    def popularity(self, catalogue: Vocabulary) -> NDArray[np.int64]:
        """Training events of each item of `catalogue`, 0 for those that do not occur."""
        index = self.items.encode(catalogue.ids)
        return np.where(index == UNKNOWN, 0, self.facts.popularity[index])

    def fingerprint(self) -> str:
        """16 hexadecimal digits that are equal where the questions, their contexts and answers are, in their order."""
        asked, digest = self.facts.examples, hashlib.sha256(b"masked" if self.mask_seen else b"")
        for ids in (self.users.ids, self.items.ids):
            digest.update("\n".join([*ids, ""]).encode())
        shown = (asked.histories.offsets, asked.histories.items)
        for column in (*shown, asked.users, self.times, asked.stops, asked.offsets, asked.targets):
            digest.update(np.ascontiguousarray(column, dtype=np.int64).tobytes())
        return digest.hexdigest()[:16]


def ask(
    train: pl.DataFrame,
    valid: pl.DataFrame,
    test: pl.DataFrame,
    *,
    targets: Targets,
    strategy: Strategy = "temporal",
    mask_seen: bool = True,
    max_examples: int | None = None,
    seed: int = 0,
    people: pl.DataFrame | None = None,
    prompted: pl.DataFrame | None = None,
    must_leave_out: bool = False,
) -> Questions:
    """The questions of a split's test part; train and validation, and test itself in its order of time, are context.

    Args:
        train: canonical interactions, as are the next two.
        valid: may be empty.
        test: where the right answers are.
        targets: what is asked of each user, see `recloop.data.splits`.
        strategy: how the split was made, likewise.
        mask_seen: drop targets that are in their context.
        max_examples: ask about as many users, drawn at random, as this many questions allow, at least one; each is
            asked about completely, so the mean over users stays unbiased. `None` asks about all.
        seed: seeds the draw.
        people: the users table, for models that look at people's attributes.
        prompted: events that followed from a slate, by `columns.EVENT_KEY`. They are context, and not asked for if that
            leaves questions about at least half of the people: what was shown favours the model that chose it.
        must_leave_out: do not ask for them, however few questions are left.

    Raises:
        DataError: there is nothing to ask.
    """
    everything = pl.concat([train, valid, test])
    items = Vocabulary(everything[ITEM])
    own, shown = unprompted(test, prompted, must=must_leave_out)
    known = everything.head(train.height + valid.height)
    asked, users, account = examples(
        known if strategy == "leave_last_out" else pl.concat([known, shown]),
        own,
        items,
        mode=targets,
        mask_seen=mask_seen,
        strategy=strategy,
        people=people,
    )
    if not len(asked):
        raise DataError(
            "The test part of the split leaves no question, as every target was seen before; give newer data, a larger "
            "test_fraction, or set evaluate.mask_seen to false"
            + (", or evaluate.prompted to ask." if shown.height else ".")
        )
    rows = _drawn(asked, max_examples, seed)
    return Questions(
        facts=Facts(
            examples=asked.take(rows),
            trained=_count(users.encode(train[USER]), len(users)),
            popularity=_count(items.encode(train[ITEM]), len(items)),
        ),
        items=items,
        users=users,
        times=account.times[rows],
        available=len(asked),
        mask_seen=mask_seen,
        left_out=shown.height,
    )


def _drawn(asked: Examples, max_examples: int | None, seed: int) -> NDArray[np.int64]:
    if max_examples is None or len(asked) <= max_examples:
        return np.arange(len(asked))
    users, counts = np.unique(asked.users, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(users))
    fitting = max(1, int(np.searchsorted(np.cumsum(counts[order]), max_examples, side="right")))
    return np.flatnonzero(np.isin(asked.users, users[order[:fitting]]))


def _count(indices: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return np.bincount(indices[indices != UNKNOWN], minlength=size)
