"""The JSON bodies of the service: what may be asked, within which bounds, and what is answered."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from bentoml import IODescriptor
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, WithJsonSchema

from recloop.serving.filters import Filters

MAX_K = 100
MAX_HISTORY = 1_000
MAX_EXCLUDE = 1_000
MAX_EVENTS = 1_000

_EVENT: JsonValue = {
    "event_id": "6f1c0a9e",
    "user_id": "196",
    "item_id": "50",
    "event": "click",
    "timestamp": "2026-01-31T12:00:00Z",
}
_NO_NUL = r"^[^\x00]+$"
_MICRO = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


def _microseconds(value: object) -> int:
    """Seconds since 1970 or ISO 8601 text (UTC where it names no zone) as microseconds since 1970."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be seconds since 1970 or ISO 8601 text")  # noqa: TRY004 - pydantic's protocol
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("is no ISO 8601 time such as 2026-01-31T12:00:00Z") from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        exact = (moment - _EPOCH) // timedelta(microseconds=1)
    else:
        exact = round(value * _MICRO) if 0 <= value <= _LAST_SECOND else -1
    if not 0 <= exact <= _LAST_SECOND * _MICRO:
        raise ValueError("must lie between the years 1970 and 9999; numbers are seconds since 1970")
    return exact


Id = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=_NO_NUL)]
Count = Annotated[int, Field(strict=True, ge=1, le=MAX_K)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e9, le=1e9)]
Timestamp = Annotated[
    int,
    BeforeValidator(_microseconds),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}],
            "description": "ISO 8601 text, or seconds since 1970.",
        }
    ),
]


class Request(IODescriptor):
    """Base of all requests: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HistoryEvent(BaseModel):
    """One thing that the person did, as a ground for recommending."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item_id: Id
    timestamp: Timestamp | None = Field(default=None, description="On every event of a history, or on none.")
    value: Number = Field(default=1.0, description="Rating or weight.")


class RecommendRequest(Request):
    """Who asks, or what is known of them; nothing at all is fine too."""

    model_config = ConfigDict(json_schema_extra={"example": {"user_id": "196", "k": 5}})

    user_id: Id | None = None
    history: Annotated[list[HistoryEvent], Field(max_length=MAX_HISTORY)] | None = Field(
        default=None, description="Scored instead of what is stored of the user; oldest first."
    )
    k: Count = Field(default=10, description="How many items.")
    exclude: Annotated[list[Id], Field(max_length=MAX_EXCLUDE)] = Field(
        default=[], description="Items not to recommend."
    )
    filters: Filters = Field(
        default={},
        description="By attribute of the items, what it must be: a list of values, of which it has one, or any_of, "
        "none_of, at_least, at_most.",
    )
    reasons: bool = Field(default=False, strict=True, description="Whether to say why each item is recommended.")


class ScoredItem(BaseModel):
    """An item and its score."""

    item_id: str
    score: float


class Because(BaseModel):
    """An item of the history that speaks for a recommended one."""

    item_id: str
    share: float = Field(description="Of all that speaks for the recommended item, above 0 and at most 1.")


class Reason(BaseModel):
    """Why an item is recommended."""

    because: list[Because] = Field(description="At most three items of the history, what speaks most for it first.")
    method: Literal["exact", "leave_one_out"] = Field(description="As in the answer of /explain.")


class ReasonedItem(ScoredItem):
    """An item, its score, and why it is recommended."""

    reason: Reason | None = Field(description="null if nothing in the history speaks for it.")


class RecommendResponse(IODescriptor):
    """The recommended items, best first."""

    request_id: str = Field(description="Give it back with the events that follow from this slate.")
    items: Sequence[ReasonedItem | ScoredItem] = Field(description="With a reason each if `reasons` was true.")
    bundle: str = Field(description="Id of the bundle that answered.")
    policy: str = Field(description="The slate policy that chose.")
    fallback: str | None = Field(
        description="null if a history was scored; else why not: nobody, unknown_user or empty_history."
    )
    ignored: int = Field(description="Events of the given history whose item is not in the catalogue.")


class SimilarRequest(Request):
    """An item of the catalogue."""

    model_config = ConfigDict(json_schema_extra={"example": {"item_id": "50", "k": 5}})

    item_id: Id
    k: Count = Field(default=10, description="How many items.")


class SimilarResponse(IODescriptor):
    """The most similar items, best first."""

    items: list[ScoredItem]
    bundle: str = Field(description="Id of the bundle that answered.")


class ExplainRequest(Request):
    """An item, and the person to whom it may be recommended."""

    model_config = ConfigDict(json_schema_extra={"example": {"user_id": "196", "item_id": "50", "k": 3}})

    user_id: Id | None = None
    history: Annotated[list[HistoryEvent], Field(max_length=MAX_HISTORY)] | None = Field(
        default=None, description="Counts instead of what is stored of the user; oldest first."
    )
    item_id: Id
    k: Count = Field(default=10, description="How many contributions to list.")


class Contribution(BaseModel):
    """What an item of the history adds to the score."""

    item_id: str
    timestamp: str | None = Field(description="Of its newest event, UTC; null if the given history has no timestamps.")
    contribution: float = Field(description="With all its events; below 0 if it speaks against the item.")


class ExplainResponse(IODescriptor):
    """Why an item has its score."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "item_id": "50",
                "score": 0.91,
                "base": 0.0,
                "contributions": [
                    {"item_id": "172", "timestamp": "1998-04-06T10:12:00.000000+00:00", "contribution": 0.52},
                    {"item_id": "12", "timestamp": "1998-04-06T10:09:00.000000+00:00", "contribution": -0.07},
                ],
                "rest": 0.46,
                "method": "exact",
                "sums": True,
                "bundle": "9025aa6466345a1d",
                "fallback": None,
                "ignored": 0,
            }
        }
    )

    item_id: str
    score: float = Field(description="The model's, given the whole history, before boosts of business rules.")
    base: float = Field(description="What contributions are counted from: 0 if exact, else the score without history.")
    contributions: list[Contribution] = Field(description="Largest by absolute value first, none that are 0.")
    rest: float = Field(description="The sum of the contributions that are not listed.")
    method: Literal["exact", "leave_one_out"] = Field(
        description="exact: terms of the score; leave_one_out: what the score loses without the item."
    )
    sums: bool = Field(description="Whether base, contributions and rest add up to the score.")
    bundle: str = Field(description="Id of the bundle that answered.")
    fallback: str | None = Field(
        description="null if a history was scored; else why not: nobody, unknown_user or empty_history."
    )
    ignored: int = Field(description="Events of the given history whose item is not in the catalogue.")


class FeedbackEvent(BaseModel):
    """Something that a person did with an item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: Id = Field(
        description="Chosen by the sender, unique; sending an event again with the same id is harmless."
    )
    user_id: Id
    item_id: Id
    event: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NO_NUL)] = Field(
        description="What was done: view, click, purchase, rating ..."
    )
    timestamp: Timestamp
    value: Number | None = Field(default=None, description="Rating or weight.")
    request_id: Id | None = Field(default=None, description="The recommendation that led to it.")


class FeedbackRequest(Request):
    """A batch of events; each is accepted or rejected by itself."""

    model_config = ConfigDict(json_schema_extra={"example": {"events": [_EVENT]}})

    events: Annotated[
        list[Annotated[Any, WithJsonSchema(FeedbackEvent.model_json_schema())]], Field(max_length=MAX_EVENTS)
    ]


class Rejection(BaseModel):
    """An event that was not stored."""

    index: int = Field(description="Its place in the batch, from 0.")
    reason: str


class FeedbackResponse(IODescriptor):
    """What became of a batch: every event is in exactly one of the three. Accepted ones are committed."""

    accepted: int
    duplicates: int
    rejected: list[Rejection]


class ForgetRequest(Request):
    """Whom to forget."""

    model_config = ConfigDict(json_schema_extra={"example": {"user_id": "196", "asked_by": "ticket 4711"}})

    user_id: Id
    asked_by: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=_NO_NUL)] = Field(
        default="a request to the service", description="Who asked; kept with the record, so name no user id here."
    )


class ForgetResponse(IODescriptor):
    """What was erased, committed when this is sent."""

    erased: dict[str, int] = Field(description="Rows of the store, by table; slates stay as rows for nobody.")
    until: str = Field(description="What happened up to this moment is erased and not taken in again.")
    remains: str = Field(description="What still holds the person, and what ends that.")


class ErrorResponse(BaseModel):
    """Why a request was not answered, in one sentence."""

    error: str


class ModelResponse(BaseModel):
    """What is serving."""

    manifest: dict[str, Any] = Field(description="The bundle's manifest: model, data, metrics, decision, checksums.")
    challengers: dict[str, dict[str, Any]] = Field(description="The manifests of the other bundles in traffic, by id.")
    plan: dict[str, Any] = Field(description="Who serves whom: champion, canary, shadow; `pinned`, if none may change.")
