"""What the business wants to see of the service, as Prometheus counters; BentoML adds them up over its workers."""

from prometheus_client import Counter, Gauge

from recloop.serving.schemas import FeedbackResponse, RecommendResponse

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

for _fallback in ("none", "nobody", "unknown_user", "empty_history"):
    RECOMMENDATIONS.labels(_fallback)
for _arm in ("champion", "canary", "interleaved"):
    for _outcome in ("answered", "failed"):
        ANSWERS.labels(_arm, _outcome)
for _outcome in ("accepted", "duplicate", "rejected", "unavailable"):
    FEEDBACK.labels(_outcome)
for _outcome in ("logged", "dropped"):
    SLATES.labels(_outcome)


def count_recommendation(response: RecommendResponse) -> None:
    """Count an answer."""
    RECOMMENDATIONS.labels(response.fallback or "none").inc()


def count_answer(arm: str, *, failed: bool) -> None:
    """Count a request by the arm it belonged to."""
    ANSWERS.labels(arm, "failed" if failed else "answered").inc()


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
