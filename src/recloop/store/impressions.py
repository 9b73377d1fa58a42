"""Impressions: what was shown to whom, at which position, and how likely that was."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql, sqlite

from recloop.store import erasures, order
from recloop.store.connection import writing
from recloop.store.schema import IMPRESSIONS, SLATES


@dataclass(frozen=True, kw_only=True)
class Impression:
    """One place of one slate.

    Attributes:
        request_id: the request that the slate answered; unique together with `position`.
        position: 0 for the first item.
        item_id: what was shown.
        score: the model's score of it.
        policy: what made the slate of the scores.
        bundle: id of the bundle that scored.
        timestamp: when, microseconds since 1970 UTC.
        user_id: to whom, if known.
        propensity: the probability that the policy shows this item at this position, if known.
    """

    request_id: str
    position: int
    item_id: str
    score: float
    policy: str
    bundle: str
    timestamp: int
    user_id: str | None = None
    propensity: float | None = None


def add(engine: Engine, impressions: Sequence[Impression]) -> None:
    """Store `impressions` in one transaction; those already stored are left alone."""
    if not impressions:
        return
    dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(IMPRESSIONS).on_conflict_do_nothing()
    ordered = sorted(impressions, key=lambda impression: (impression.request_id, impression.position))
    with writing(engine) as connection:
        order.announce(connection, SLATES)
        until = erasures.until(connection, (shown.user_id for shown in ordered if shown.user_id is not None))
        rows = [
            vars(shown) for shown in ordered if shown.user_id not in until or shown.timestamp > until[shown.user_id]
        ]
        if rows:
            connection.execute(insert, rows)
