from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from recloop.config import parse
from recloop.data.tables import canonical_interactions
from recloop.drift.config import DriftConfig
from recloop.drift.detect import detect, names
from recloop.errors import ConfigError
from tests.drift.conftest import events, people

STRICT = DriftConfig(tolerance=0, unknown_tolerance=0, score_tolerance=0, volume_factor=1)
"""Nothing is tolerated, so that only the allowance for chance is left."""


def by_time(frame: pl.DataFrame, share: float = 0.8) -> tuple[pl.DataFrame, pl.DataFrame]:
    cut = frame["timestamp"].sort()[int(frame.height * share)]
    return frame.filter(pl.col("timestamp") < cut), frame.filter(pl.col("timestamp") >= cut)


def by_users(frame: pl.DataFrame, rng: np.random.Generator, share: float = 0.7) -> tuple[pl.DataFrame, pl.DataFrame]:
    users = frame["user_id"].unique().sort()
    first = pl.col("user_id").is_in(users.filter(pl.Series(rng.random(len(users)) < share)).implode())
    return frame.filter(first), frame.filter(~first)


def uneven(rng: np.random.Generator, users: int = 300, items: int = 80) -> pl.DataFrame:
    """A world that stands still: people with their own tastes, habits and mildness, some of them a thousand times
    as active as others, spread evenly over 60 days."""
    activity = np.minimum(2 + (4 * rng.pareto(1.2, users)).astype(int), 1500)
    user = np.repeat(np.arange(users), activity)
    liking = 1.5 * rng.standard_normal((users, items)) - 0.8 * np.log(np.arange(1, items + 1))
    item = np.argmax(liking[user] + rng.gumbel(size=(len(user), items)), axis=1)
    value = np.clip(np.round(rng.normal(3.5, 0.8, users)[user] + 0.7 * rng.standard_normal(len(user))), 1, 5)
    click = rng.random(len(user)) < rng.beta(1, 3, users)[user]
    frame = pl.DataFrame(
        {
            "user_id": pl.Series(user).cast(pl.String),
            "item_id": pl.Series(item).cast(pl.String),
            "timestamp": rng.integers(0, 60 * 86_400, len(user)),
            "event": np.where(click, "click", "view"),
            "value": value,
        }
    )
    return canonical_interactions(frame, "test")


def test_all_checks_are_found():
    assert names() == (
        "catalogue_churn",
        "event_types",
        "history_embeddings",
        "item_popularity",
        "model_scores",
        "new_users",
        "popularity_baseline",
        "ranking_quality",
        "slates",
        "unknown_items",
        "unknown_users",
        "user_activity",
        "values",
        "volume",
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["time", "users", "rows"])
def test_two_samples_of_one_distribution_do_not_drift(how: str):
    """200 seeds; the configured rate is 1%, although nothing is tolerated and several checks are made at once."""
    alarms: list[bool] = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        frame = uneven(rng)
        if how == "time":
            parts = by_time(frame)
        elif how == "users":
            parts = by_users(frame, rng)
        else:
            first = pl.Series(rng.random(frame.height) < 0.5)
            parts = frame.filter(first), frame.filter(~first)
        alarms.append(detect(*parts, STRICT).verdict == "drift")
    assert np.mean(alarms) <= 0.01


@pytest.mark.slow
def test_a_synthetic_world_without_drift_is_stable(world: Callable[..., pl.DataFrame]):
    """New items and people who have used up the favourites change it a little: that is tolerated. 100 seeds."""
    verdicts = [detect(*by_time(world(seed=seed, users=250)), DriftConfig()).verdict for seed in range(100)]
    assert set(verdicts) <= {"stable", "drift"}
    assert verdicts.count("drift") <= 1


@pytest.mark.slow
def test_a_drifting_synthetic_world_drifts(world: Callable[..., pl.DataFrame]):
    for seed in range(20):
        found = detect(*by_time(world(seed=seed, drift_at=0.8)), DriftConfig())
        assert found.verdict == "drift"
        assert {check.name for check in found.checks if check.drifted} >= {"item_popularity"}


def test_the_record_says_all(world: Callable[..., pl.DataFrame]):
    reference, current = by_time(world(drift_at=0.8))
    record = detect(reference, current, DriftConfig()).record()
    assert record["verdict"] == "drift"
    assert record["reference"] == {
        "from": reference["timestamp"].min().strftime("%Y-%m-%dT%H:%M:%S.%f+00:00"),  # type: ignore[union-attr]
        "to": reference["timestamp"].max().strftime("%Y-%m-%dT%H:%M:%S.%f+00:00"),  # type: ignore[union-attr]
        "rows": reference.height,
    }
    assert record["current"]["rows"] == current.height
    assert [check["name"] for check in record["checks"]] == sorted(check["name"] for check in record["checks"])
    for check in record["checks"]:
        assert set(check) == {
            *("name", "column", "statistic", "value", "threshold", "n_reference", "n_current", "drifted")
        }
        assert check["drifted"] == (check["value"] > check["threshold"])


def test_the_order_of_the_rows_means_nothing(world: Callable[..., pl.DataFrame]):
    parts = by_time(world(drift_at=0.8, users=100))
    shuffled = [part.sample(fraction=1, shuffle=True, seed=3) for part in parts]
    assert detect(*parts, DriftConfig()).record() == detect(*shuffled, DriftConfig()).record()


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (people(100, (0, 10)), people(29, (11, 20), per_user=10)),
        (people(29, (0, 10), per_user=10), people(100, (11, 20))),
        (people(100, (0, 10)), people(100, (11, 20), per_user=1)),
    ],
    ids=["few current users", "few reference users", "few events"],
)
def test_too_little_for_a_verdict(reference: list, current: list):
    record = detect(events(reference), events(current), DriftConfig()).record()
    assert (record["verdict"], record["checks"]) == ("insufficient", [])


def test_no_newer_events_at_all():
    reference = events(people(100, (0, 10)))
    record = detect(reference, reference.clear(), DriftConfig()).record()
    assert record["verdict"] == "insufficient"
    assert record["current"] == {"from": None, "to": None, "rows": 0}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"tolerance": 2}, "params.yaml: drift.tolerance is 2, but input should be less than 0.8; correct the value."),
        ({"window_days": 0}, "params.yaml: drift.window_days is 0, but input should be greater than 0"),
        (
            {"treshold": 1},
            "params.yaml: drift.treshold is not a known parameter; known ones are: contexts",
        ),
    ],
)
def test_parameters_that_cannot_be_used(values: dict[str, object], sentence: str):
    with pytest.raises(ConfigError) as raised:
        parse(DriftConfig, values, "params.yaml: drift")
    assert sentence in str(raised.value)
