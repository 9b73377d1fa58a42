"""What the service answers, as frozen objects; a field that this version does not know is left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Because:
    """An item of the history that speaks for a recommended one.

    Attributes:
        item_id: of the history.
        share: of all that speaks for the recommended item, above 0 and at most 1.
    """

    item_id: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why an item is recommended.

    Attributes:
        because: at most three items of the history, what speaks most for it first.
        method: `exact` or `leave_one_out`, as in `Explanation`.
    """

    because: tuple[Because, ...]
    method: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item and its score.

    Attributes:
        item_id: of the catalogue.
        score: higher is better; scores of different bundles cannot be compared.
        reason: why it is recommended; `None` if reasons were not asked for, or nothing in the history speaks for it.
    """

    item_id: str
    score: float
    reason: Reason | None = None


@dataclass(frozen=True, kw_only=True)
class Slate:
    """The recommended items.

    Attributes:
        request_id: to give back with the events that follow.
        items: best first.
        bundle: id of the bundle that answered.
        policy: the slate policy that chose.
        fallback: `None` if a history was scored; else `nobody`, `unknown_user` or `empty_history`.
        ignored: events of the given history whose item is not in the catalogue.
    """

    request_id: str
    items: tuple[Item, ...]
    bundle: str
    policy: str
    fallback: str | None
    ignored: int


@dataclass(frozen=True, kw_only=True)
class SimilarItems:
    """Items like one item.

    Attributes:
        items: most similar first.
        bundle: id of the bundle that answered.
    """

    items: tuple[Item, ...]
    bundle: str


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What an item of the history adds to a score.

    Attributes:
        item_id: of the history.
        timestamp: of its newest event (ISO 8601), if known.
        contribution: with all its events; below 0 if it speaks against the item.
    """

    item_id: str
    timestamp: str | None
    contribution: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an item has its score.

    Attributes:
        item_id: which item.
        score: the model's.
        base: what contributions are counted from.
        contributions: largest by absolute value first.
        rest: the sum of those that are not listed.
        method: `exact` (terms of the score) or `leave_one_out` (what the score loses without the item).
        sums: whether base, contributions and rest add up to the score.
        bundle: id of the bundle that answered.
        fallback: as in `Slate`.
        ignored: as in `Slate`.
    """

    item_id: str
    score: float
    base: float
    contributions: tuple[Contribution, ...]
    rest: float
    method: str
    sums: bool
    bundle: str
    fallback: str | None
    ignored: int


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An event that was not stored.

    Attributes:
        index: its place among the events that were given, from 0.
        reason: why.
    """

    index: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class FeedbackResult:
    """What became of the events: each is in exactly one of the three.

    Attributes:
        accepted: committed to the store.
        duplicates: the store had them, maybe from a try whose answer was lost.
        rejected: not stored.
    """

    accepted: int
    duplicates: int
    rejected: tuple[Rejection, ...]


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What was erased of a person.

    Attributes:
        erased: rows of the store, by table.
        until: what happened up to this moment (ISO 8601) is erased and not taken in again.
        remains: what still holds the person, and what ends that.
    """

    erased: dict[str, int]
    until: str
    remains: str


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What is serving.

    Attributes:
        manifest: of the champion's bundle.
        challengers: the manifests of the other bundles in traffic, by id.
        plan: who serves whom.
    """

    manifest: dict[str, Any]
    challengers: dict[str, dict[str, Any]]
    plan: dict[str, Any]


def slate(body: Mapping[str, Any]) -> Slate:
    """Raises `KeyError` or `TypeError` if the body is none; so do the others."""
    return Slate(
        request_id=body["request_id"],
        items=_items(body),
        bundle=body["bundle"],
        policy=body["policy"],
        fallback=body["fallback"],
        ignored=body["ignored"],
    )


def similar_items(body: Mapping[str, Any]) -> SimilarItems:
    """See `slate`."""
    return SimilarItems(items=_items(body), bundle=body["bundle"])


def explanation(body: Mapping[str, Any]) -> Explanation:
    """See `slate`."""
    names = ("item_id", "timestamp", "contribution")
    return Explanation(
        item_id=body["item_id"],
        score=body["score"],
        base=body["base"],
        contributions=tuple(Contribution(**{name: one[name] for name in names}) for one in body["contributions"]),
        rest=body["rest"],
        method=body["method"],
        sums=body["sums"],
        bundle=body["bundle"],
        fallback=body["fallback"],
        ignored=body["ignored"],
    )


def feedback_result(body: Mapping[str, Any]) -> FeedbackResult:
    """See `slate`."""
    rejected = tuple(Rejection(index=one["index"], reason=one["reason"]) for one in body["rejected"])
    return FeedbackResult(accepted=body["accepted"], duplicates=body["duplicates"], rejected=rejected)


def erasure(body: Mapping[str, Any]) -> Erasure:
    """See `slate`."""
    return Erasure(erased=dict(body["erased"]), until=body["until"], remains=body["remains"])


def serving(body: Mapping[str, Any]) -> Serving:
    """See `slate`."""
    return Serving(manifest=body["manifest"], challengers=body["challengers"], plan=body["plan"])


def joined(results: list[tuple[FeedbackResult, int]]) -> FeedbackResult:
    """The result of batches that were sent one after the other, each with the number of its events."""
    rejected, begin = list[Rejection](), 0
    for result, events in results:
        rejected += [Rejection(index=begin + one.index, reason=one.reason) for one in result.rejected]
        begin += events
    return FeedbackResult(
        accepted=sum(result.accepted for result, _ in results),
        duplicates=sum(result.duplicates for result, _ in results),
        rejected=tuple(rejected),
    )


def _items(body: Mapping[str, Any]) -> tuple[Item, ...]:
    return tuple(
        Item(item_id=one["item_id"], score=one["score"], reason=_reason(one.get("reason"))) for one in body["items"]
    )


def _reason(body: Mapping[str, Any] | None) -> Reason | None:
    if body is None:
        return None
    because = tuple(Because(item_id=one["item_id"], share=one["share"]) for one in body["because"])
    return Reason(because=because, method=body["method"])
