"""What the service must not forget: events, impressions, deployments and decisions, in SQLite or PostgreSQL."""

from recloop.store.audit import Audited
from recloop.store.erasures import Erased, Erasure
from recloop.store.events import Added, Event
from recloop.store.keys import ApiKey
from recloop.store.records import Decision, Deployment
from recloop.store.slates import Arm, Exposure, Gap, Slate
from recloop.store.store import DEFAULT_FILE, URL_VARIABLE, Store

__all__ = [
    "DEFAULT_FILE",
    "URL_VARIABLE",
    "Added",
    "ApiKey",
    "Arm",
    "Audited",
    "Decision",
    "Deployment",
    "Erased",
    "Erasure",
    "Event",
    "Exposure",
    "Gap",
    "Slate",
    "Store",
]
