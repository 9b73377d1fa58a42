"""What the business wants to see of the service, as Prometheus counters; BentoML adds them up over its workers."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from recloop.serving.schemas import FeedbackResponse

RECOMMENDATIONS = Counter(
    "recloop_recommendations",
    "Recommendations answered, by the fallback that was used (none: a history was scored).",
    ["fallback"],
)
ANSWERS = Counter(
    "recloop_answers",
    "Requests to recommend, by arm, and by whether who was asked first answered or failed.",
    ["arm", "outcome"],
)
FEEDBACK = Counter(
    "recloop_feedback_events",
    "Events received, by what became of them.",
    ["outcome"],
)
SLATES = Counter(
    "recloop_slates",
    "Served slates, by what became of their record: in the store, or dropped since the store was away or full.",
    ["outcome"],
)
WAITING_SLATES = Gauge(
    "recloop_slates_waiting", "Served slates that are not in the store yet.", multiprocess_mode="livesum"
)
REFUSALS = Counter(
    "recloop_refusals",
    "Requests refused before they were read, by why: no key, one that does not count, its scope, its rate, or keys "
    "that cannot be read.",
    ["reason"],
)
BUNDLE_WORKERS = Gauge(
    "recloop_bundle_workers",
    "Workers in which a bundle has this part in the traffic.",
    ["bundle", "model", "part"],
    multiprocess_mode="livesum",
)
LOOKUPS = Counter(
    "recloop_score_lookups",
    "Plain requests to recommend, by whether the person's candidates had been scored before and nothing came since.",
    ["outcome"],
)
SECONDS = Histogram(
    "recloop_recommend_seconds",
    "How long answers to requests to recommend took.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)

_fallbacks, _arms, _lookups = (cache(counter.labels) for counter in (RECOMMENDATIONS, ANSWERS, LOOKUPS))

for _fallback in ("none", "nobody", "unknown_user", "empty_history"):
    RECOMMENDATIONS.labels(_fallback)
for _arm in ("champion", "canary", "interleaved"):
    for _outcome in ("answered", "failed"):
        ANSWERS.labels(_arm, _outcome)
for _outcome in ("accepted", "duplicate", "rejected", "unavailable"):
    FEEDBACK.labels(_outcome)
for _outcome in ("logged", "dropped"):
    SLATES.labels(_outcome)
for _reason in ("no_key", "bad_key", "scope", "rate", "unknown"):
    REFUSALS.labels(_reason)
for _outcome in ("hit", "miss"):
    LOOKUPS.labels(_outcome)


def count_recommendation(fallback: str | None) -> None:
    """Count an answer by its fallback."""
    _fallbacks(fallback or "none").inc()


def count_lookup(*, hit: bool) -> None:
    """Count a request by whether what it needs had been scored before."""
    _lookups("hit" if hit else "miss").inc()


def observe(seconds: float) -> None:
    """Count how long an answer to a request to recommend took."""
    SECONDS.observe(seconds)


def count_answer(arm: str, *, failed: bool) -> None:
    """Count a request by the arm it belonged to."""
    _arms(arm, "failed" if failed else "answered").inc()


def count_feedback(response: FeedbackResponse) -> None:
    """Count the events of a batch by what became of them."""
    FEEDBACK.labels("accepted").inc(response.accepted)
    FEEDBACK.labels("duplicate").inc(response.duplicates)
    FEEDBACK.labels("rejected").inc(len(response.rejected))


def count_unavailable(events: int) -> None:
    """Count events that could not be stored, since the store did not answer."""
    FEEDBACK.labels("unavailable").inc(events)


def count_slates(outcome: str, slates: int) -> None:
    """Count served slates whose record was `logged` or `dropped`."""
    SLATES.labels(outcome).inc(slates)


def show_waiting_slates(slates: int) -> None:
    """Show how many served slates wait for the store now."""
    WAITING_SLATES.set(slates)


def count_refusal(reason: str) -> None:
    """Count a request that was refused before it was read."""
    REFUSALS.labels(reason).inc()


def show_bundles(before: set[tuple[str, str, str]], now: set[tuple[str, str, str]]) -> None:
    """Show which bundles this worker serves: id, model, and part in the traffic (champion, canary, shadow)."""
    for gone in before - now:
        BUNDLE_WORKERS.labels(*gone).set(0)
    for served in now:
        BUNDLE_WORKERS.labels(*served).set(1)
