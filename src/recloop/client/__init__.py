"""A typed client of the service, sync and async; it needs httpx and nothing else of what recloop needs.

``Client(url).recommend(user_id="196")`` gives a `Slate`; docs/client.md shows the rest.
"""

from recloop.client.answers import (
    Because,
    Contribution,
    Erasure,
    Explanation,
    FeedbackResult,
    Item,
    Reason,
    Rejection,
    Serving,
    SimilarItems,
    Slate,
)
from recloop.client.asking import AsyncClient, Client
from recloop.client.events import Event, HistoryEvent
from recloop.client.failures import (
    ClientError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from recloop.client.retries import Retries

__all__ = [
    "AsyncClient",
    "Because",
    "Client",
    "ClientError",
    "Contribution",
    "Erasure",
    "Event",
    "Explanation",
    "FeedbackResult",
    "HistoryEvent",
    "Item",
    "NotFoundError",
    "Reason",
    "RefusedError",
    "Rejection",
    "Retries",
    "Serving",
    "SimilarItems",
    "Slate",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
]
