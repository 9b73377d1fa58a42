"""What counts as drift."""

from pydantic import Field, field_validator

from recloop.config import Config, Seed
from recloop.errors import ConfigError
from recloop.metrics import Ranking, parse


class DriftConfig(Config):
    """When two windows differ.

    Attributes:
        window_days: length of the current window, back from the newest event; `None` for everything after the
            champion's training window. It never reaches back into that.
        min_events: fewest events that each window must have for a verdict.
        min_users: fewest users that each window must have for a verdict.
        false_alarms: probability that any check of two windows of one distribution reports drift.
        tolerance: Jensen-Shannon distance between two distributions that does not matter.
        unknown_tolerance: the same for the rates of unknown users and items, which come in waves.
        score_tolerance: the same for the model's scores, slates and vectors, where more is usual: a model is surer
            about people from whom it has learnt than about new ones.
        volume_factor: factor between the events a day of the two windows that does not matter.
        popularity_days: `item_popularity` compares with so many days at the end of the reference; `None` for all of it.
            People use up what they like best, so popularity moves all the time, and a long reference lies far back.
        metric: how well next items are foretold; a metric that is taken from ranks.
        metric_tolerance: share of that metric whose loss does not matter.
        top_k: the score of a context is the mean of its best `top_k` items.
        contexts: most contexts of a window that are scored, and most next items that are asked for.
        seed: draws those contexts.
    """

    window_days: float | None = Field(
        default=None, gt=0, description="Days in the newest window; empty for all new ones."
    )
    min_events: int = Field(default=200, ge=1, description="Fewest events in each window for a verdict.")
    min_users: int = Field(default=30, ge=2, description="Fewest users in each window for a verdict.")
    false_alarms: float = Field(default=0.01, gt=0, lt=0.5, description="Probability of drift where there is none.")
    tolerance: float = Field(default=0.12, ge=0, lt=0.8, description="Jensen-Shannon distance that does not matter.")
    unknown_tolerance: float = Field(default=0.15, ge=0, lt=0.8, description="The same for rates of unknown ids.")
    score_tolerance: float = Field(default=0.2, ge=0, lt=0.8, description="The same for the model's answers.")
    volume_factor: float = Field(default=2.0, ge=1, description="Change of the events a day that does not matter.")
    popularity_days: float | None = Field(
        default=None, gt=0, description="Days of the reference that item_popularity looks at; empty for all."
    )
    metric: str = Field(default="ndcg@10", description="How well next items are foretold.")
    metric_tolerance: float = Field(default=0.2, ge=0, lt=1, description="Share of it whose loss does not matter.")
    top_k: int = Field(default=10, ge=1, description="Best items of a context whose mean score is compared.")
    contexts: int = Field(default=2000, ge=1, description="Most contexts of each window that are scored.")
    seed: Seed = Field(default=0, description="Draws the contexts that are scored.")

    @field_validator("metric")
    @classmethod
    def _of_ranks(cls, metric: str) -> str:
        try:
            taken = parse(metric).takes
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from None
        if taken is not Ranking:
            raise ValueError("the metric must be taken from ranks, such as ndcg@10 or mrr")
        return metric
