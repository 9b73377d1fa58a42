"""What the business wants to see of the service, as Prometheus counters; BentoML adds them up over its workers."""

from prometheus_client import Counter

from recloop.serving.schemas import FeedbackResponse, RecommendResponse

RECOMMENDATIONS = Counter(
    "recloop_recommendations",
    "Recommendations answered, by the fallback that was used (none: a history was scored).",
    ["fallback"],
)
FEEDBACK = Counter(
    "recloop_feedback_events",
    "Events received, by what became of them.",
    ["outcome"],
)

for _fallback in ("none", "nobody", "unknown_user", "empty_history"):
    RECOMMENDATIONS.labels(_fallback)
for _outcome in ("accepted", "duplicate", "rejected", "unavailable"):
    FEEDBACK.labels(_outcome)


def count_recommendation(response: RecommendResponse) -> None:
    """Count an answer."""
    RECOMMENDATIONS.labels(response.fallback or "none").inc()


def count_feedback(response: FeedbackResponse) -> None:
    """Count the events of a batch by what became of them."""
    FEEDBACK.labels("accepted").inc(response.accepted)
    FEEDBACK.labels("duplicate").inc(response.duplicates)
    FEEDBACK.labels("rejected").inc(len(response.rejected))


def count_unavailable(events: int) -> None:
    """Count events that could not be stored, since the store did not answer."""
    FEEDBACK.labels("unavailable").inc(events)
