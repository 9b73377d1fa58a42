"""The protocol: what a model may learn from, and what it is asked."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from recloop import models
from recloop.benchmark.files import Data, following, ids
from recloop.columns import USER
from recloop.data.sequences import Examples
from recloop.data.splits import Account, examples
from recloop.data.tables import Attributes, read_parquet, require_columns
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import DataError
from recloop.models.base import Model, TrainingData
from recloop.retrieval.exact import Candidates

NEGATIVES = "negatives"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the files come to in terms of indices: what to learn from, and what is asked.

    Attributes:
        catalogue: the items of `train`, and those of the items table for a model that can score unseen ones.
        learners: the users of `train`.
        training: what the model may learn from.
        asked: one question a test user.
        people: the users of `test`, whose index is `Examples.users`.
        account: what became of the test rows.
        candidates: what alone is ranked for each question; `None` for the whole catalogue.
    """

    catalogue: Vocabulary
    learners: Vocabulary
    training: TrainingData
    asked: Examples
    people: Vocabulary
    account: Account
    candidates: Candidates | None

    @property
    def sampled(self) -> bool:
        """Whether the right answers are ranked among listed items alone."""
        return self.candidates is not None


def make_task(kind: type[Model], data: Data, attributes: Attributes, test: Path, negatives: Path | None) -> Task:
    """What is learnt from and asked; `test` is named where nothing is left to ask.

    Raises:
        DataError: nothing is left to ask, or the file of negatives or a column of it is missing or of the wrong type.
    """
    catalogue, learners = models.catalogue(kind, data.train, attributes.items), Vocabulary(data.train[USER])
    asked, people, account = examples(
        pl.concat([data.train, data.valid]),
        data.test,
        catalogue,
        mode="all",
        mask_seen=negatives is None,
        people=attributes.users,
    )
    if not len(asked):
        raise DataError(f"{test} leaves nothing to find, as training has all of its rows; give other test rows.")
    return Task(
        catalogue=catalogue,
        learners=learners,
        training=replace(
            TrainingData.from_tables(data.train, catalogue, attributes),
            valid=_validation(data, catalogue, attributes.users),
        ),
        asked=asked,
        people=people,
        account=account,
        candidates=None if negatives is None else _candidates(negatives, asked, people, catalogue),
    )


def _validation(data: Data, catalogue: Vocabulary, people: pl.DataFrame | None) -> Examples | None:
    """All validation rows of a user as one question, whose context is the training rows."""
    if data.valid.is_empty():
        return None
    later = following(data.valid, data.train)
    asked = examples(data.train, later, catalogue, mode="all", people=people)[0]
    return asked if len(asked) else None


def _candidates(path: Path, asked: Examples, people: Vocabulary, catalogue: Vocabulary) -> Candidates:
    """The listed negatives and the right answers of each test user, as far as they are in the catalogue."""
    frame = read_parquet(path)
    require_columns(frame, (USER, NEGATIVES), str(path))
    if not isinstance(frame.schema[NEGATIVES], pl.List):
        raise DataError(
            f"{path}: '{NEGATIVES}' has type {frame.schema[NEGATIVES]}, but must be a list of item ids; "
            "group them by user."
        )
    lists = frame.select(ids(frame, USER, path), NEGATIVES)
    rows = lists.explode(NEGATIVES).drop_nulls()
    example = np.full(len(people) + 1, UNKNOWN)  # the last place is that of UNKNOWN users
    example[asked.users] = np.arange(len(asked))
    lacking = np.setdiff1d(np.arange(len(asked)), example[people.encode(rows[USER])])
    if len(lacking):
        raise DataError(
            f"{path} lists no negatives for {len(lacking)} test user(s), the first is "
            f"'{people.ids[int(asked.users[lacking[0]])]}'; add them or drop these test rows."
        )
    own = np.repeat(np.arange(len(asked)), np.diff(asked.offsets))
    owners = np.concatenate([example[people.encode(rows[USER])], own])
    items = np.concatenate([catalogue.encode(ids(rows, NEGATIVES, path)), asked.targets])
    usable = np.flatnonzero((owners != UNKNOWN) & (items != UNKNOWN))
    usable = usable[np.argsort(owners[usable], kind="stable")]
    return Candidates(offsets=np.searchsorted(owners[usable], np.arange(len(asked) + 1)), items=items[usable])
