"""Why an item is recommended to somebody: what the items of their history add to its score, by ids."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from recloop.explanation import Explanation, explain
from recloop.serving.answer import Answer, ask_of, past_of
from recloop.serving.asking import Ask
from recloop.serving.recommender import Recommender
from recloop.serving.schemas import (
    Because,
    Contribution,
    ExplainRequest,
    ExplainResponse,
    Reason,
    ReasonedItem,
    RecommendRequest,
)
from recloop.serving.traffic import Served

CAUSES = 3
"""Items of the history that a reason names at most."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger("bentoml.recloop")


def answering(served: Served, user_id: str | None) -> Recommender | None:
    """Whose answers somebody gets: the canary's for its share of the users, otherwise the champion's."""
    if user_id is not None:
        arm, by = served.choose(user_id, "")
        if arm == "canary":
            return by
    return served.champion


def explained(by: Recommender, request: ExplainRequest) -> ExplainResponse:
    """What each item of a history adds to the score of one item.

    Raises:
        UnknownItemError: the catalogue does not hold the item.
        DataError: only some events of the history have a timestamp.
    """
    index = by.index(request.item_id)
    ask = Ask(user_id=by.stored_id(request.user_id), history=past_of(request.history))
    context, ignored = by.context(ask)
    found = explain(by.bundle.model, context, [index])
    added = found.contributions[:, 0]
    order = np.argsort(-np.abs(added), kind="stable")
    order = order[added[order] != 0]
    listed, rest = order[: request.k], order[request.k :]
    timed = not ask.history or ask.history[0].timestamp is not None
    return ExplainResponse(
        item_id=request.item_id,
        score=float(found.scores[0]),
        base=float(found.base[0]),
        contributions=[
            Contribution(
                item_id=item_id,
                timestamp=_moment(int(context.timestamps[found.places[row]])) if timed else None,
                contribution=float(added[row]),
            )
            for item_id, row in zip(by.bundle.vocabulary.decode(found.history[listed]), listed, strict=True)
        ],
        rest=float(added[rest].sum(dtype=np.float64)),
        method=found.method,
        sums=bool(found.sums[0]),
        bundle=by.bundle.id,
        fallback=by.fallback(ask, context),
        ignored=ignored,
    )


def reasoned(served: Served, answered: Answer, request: RecommendRequest) -> list[ReasonedItem]:
    """The places of a slate with their reasons, by the model that picked each; without them if that fails."""
    assert answered.slate is not None
    places, own = answered.slate.items, answered.by.bundle.id
    bundles = answered.bundles or [own] * len(places)
    reasons: dict[str, Reason | None] = {}
    for bundle in dict.fromkeys(bundles):
        by = answered.by if bundle == own else served.recommenders[bundle]
        picked = [place.item_id for place, picker in zip(places, bundles, strict=True) if picker == bundle]
        try:
            reasons |= zip(picked, _reasons(by, ask_of(by, request, ""), picked), strict=True)
        except Exception:  # noqa: BLE001 - a slate without reasons is better than none
            _log.exception("No reasons for what %s recommends.", bundle)
    return [
        ReasonedItem(item_id=place.item_id, score=place.score, reason=reasons.get(place.item_id)) for place in places
    ]


def _reasons(by: Recommender, ask: Ask, item_ids: Sequence[str]) -> list[Reason | None]:
    """Why each item is recommended; `None` where nothing of the history speaks for it."""
    context, _ = by.context(ask)
    if not len(context.items):
        return [None] * len(item_ids)
    found = explain(by.bundle.model, context, [by.index(item_id) for item_id in item_ids])
    return [_reason(by, found, found.contributions[:, column]) for column in range(len(item_ids))]


def _reason(by: Recommender, found: Explanation, added: NDArray[np.float32]) -> Reason | None:
    best = np.argsort(-added, kind="stable")[:CAUSES]
    best = best[added[best] > 0]
    if not len(best):
        return None
    shares = added[best] / added[added > 0].sum(dtype=np.float64)
    ids = by.bundle.vocabulary.decode(found.history[best])
    because = [Because(item_id=item_id, share=float(share)) for item_id, share in zip(ids, shares, strict=True)]
    return Reason(because=because, method=found.method)


def _moment(microseconds: int) -> str:
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")
