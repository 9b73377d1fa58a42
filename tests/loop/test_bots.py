import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recloop.columns import ITEM, TIME, USER
from recloop.loop.attribution import AttributionConfig, attribute
from recloop.loop.bots import FLAGS, TIMES, BotConfig, burst_bound, flags
from recloop.loop.partitions import Partitions
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config, World
from recloop.store.events import SCHEMA
from recloop.store.slates import PLACES

SECOND = 1_000_000
SHOWN: dict[str, pl.DataType] = {"user_id": pl.String(), "places": pl.UInt32(), "acted": pl.UInt32()}
Flag = Callable[..., pl.DataFrame]
FEW = AttributionConfig(parts=4)


@pytest.fixture
def flagged(tmp_path: Path) -> Flag:
    runs = iter(range(100))

    def run(
        acts: dict[str, list[float]] | None = None,
        requests: dict[str, list[float]] | None = None,
        shown: dict[str, tuple[int, int]] | None = None,
        **changes: object,
    ) -> pl.DataFrame:
        moments = Partitions(tmp_path / f"{next(runs)}", USER, 3)
        for act, times in ((True, acts or {}), (False, requests or {})):
            rows = [(user, round(second * SECOND), act) for user, seconds in times.items() for second in seconds]
            moments.add(pl.DataFrame(rows, schema=TIMES, orient="row"))
        moments.finish()
        places = [(user, *counts) for user, counts in (shown or {}).items()]
        frame = pl.DataFrame(places, schema=SHOWN, orient="row")
        return flags(moments, frame, BotConfig(**changes))  # type: ignore[arg-type]

    return run


def uneven(count: int, step: float = 1.0) -> list[float]:
    """Moments whose intervals differ widely, `step` seconds apart on average."""
    return [step * (number + 0.4 * (number % 3) - 0.3 * (number % 2)) for number in range(count)]


def test_nobody_is_flagged_of_nothing(flagged: Flag):
    assert flagged().is_empty()
    assert dict(flagged().schema) == FLAGS


def test_the_bound_of_bursts_by_hand():
    logs = [math.log(most) for most in (20, 20, 30, 40, 80)]
    middle = math.log(30)
    spread = 1.4826 * sorted(abs(log - middle) for log in logs)[2]
    bound = burst_bound([20, 40, 20, 80, 30], BotConfig(burst_floor=1, deviations=2))
    assert bound == pytest.approx(math.exp(middle + 2 * spread))
    assert burst_bound([1, 1, 1], BotConfig(burst_floor=7)) == 7
    assert burst_bound([], BotConfig(burst_floor=7)) == 7
    many_bots = burst_bound([4, 5, 6, 5] * 25 + [10_000] * 80, BotConfig(burst_floor=1))
    assert many_bots < 10_000, "up to half of all users do not hide themselves"


def test_a_burst_of_acts_is_more_than_people_do_within_its_time(flagged: Flag):
    people = {f"u{number}": uneven(10, 20) for number in range(30)}
    burst = {"bot": [*uneven(10, 900), *(100_000 + moment for moment in uneven(31, 1))]}
    slow = {"keen": uneven(200, 4)}
    found = flagged(people | burst | slow, burst_floor=30)
    assert found.rows() == [("bot", "acts", 31.0, 30.0)]
    assert flagged(people | burst, burst_floor=31).is_empty()


def test_requests_are_counted_by_themselves(flagged: Flag):
    people = {f"u{number}": uneven(10, 20) for number in range(30)}
    found = flagged(people, people | {"scraper": uneven(100, 0.5), None: uneven(500, 0.1)})  # type: ignore[dict-item]
    assert found.rows() == [("scraper", "requests", 100.0, 30.0)]


def test_who_acts_on_everything(flagged: Flag):
    shown = {"bot": (50, 45), "fond": (50, 44), "new": (49, 49), None: (900, 900)}
    assert flagged(shown=shown).rows() == [("bot", "everything", 0.9, 0.9)]  # type: ignore[arg-type]


def test_who_acts_like_clockwork(flagged: Flag):
    clock = [30.0 * number + 0.1 * (number % 2) for number in range(21)]
    with_breaks = [
        moment + 50_000 * (number // 10) for number, moment in enumerate(clock + [630 + 30.0 * n for n in range(9)])
    ]
    found = flagged(
        {
            "clock": clock,
            "breaks": with_breaks,
            "few": clock[:20],
            "human": uneven(60, 30),
            "daily": [86_400.0 * number for number in range(60)],
            "page": [100.0] * 25,
        }
    )
    assert found.select("user_id", "reason").rows() == [("breaks", "regular"), ("clock", "regular")]
    assert found["measure"].max() <= 0.05  # type: ignore[operator]


def ordinary(world: World, click: float, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Slates of ten for what people of a world come for, and their acts: what they chose, and clicks around it."""
    context = SourceContext(root=Path(), data=Path(), cache=Path(), progress=lambda steps, description: steps)
    chosen = world.interactions(context).with_row_index("request").with_columns(pl.col(TIME).cast(pl.Int64))
    items = rng.integers(world.config.items, size=(chosen.height, 10))
    place = rng.integers(10, size=chosen.height)
    others = pl.DataFrame(
        {"request": np.repeat(np.arange(chosen.height), 10), "position": np.tile(np.arange(10), chosen.height)}
    )
    others = others.with_columns(
        pl.Series("shown", world.item_ids).gather(items.ravel()),
        pl.Series("chosen", np.repeat(place, 10) == np.tile(np.arange(10), chosen.height)),
        pl.Series("clicked", rng.random(items.size) < click),
        pl.Series("after", rng.exponential(20 * SECOND, items.size).astype(np.int64)),
    )
    rows = others.join(chosen.with_columns(pl.col("request").cast(pl.Int64)), on="request")
    rows = rows.with_columns(
        pl.col("request").cast(pl.String).alias("request_id"),
        pl.when("chosen").then(ITEM).otherwise("shown").alias("item"),
    )
    impressions = rows.select(
        (pl.col("request") + 1).alias("seq"),
        "request_id",
        "position",
        USER,
        pl.col("item").alias(ITEM),
        pl.lit(0.0).alias("score"),
        pl.lit(1.0).alias("propensity"),
        pl.lit("p").alias("policy"),
        pl.lit("b").alias("bundle"),
        pl.lit("champion").alias("arm"),
        TIME,
    )
    acts = rows.filter(pl.col("chosen") | pl.col("clicked")).with_row_index("seq", offset=1)
    events = acts.select(
        "seq",
        pl.col("seq").cast(pl.String).alias("event_id"),
        USER,
        pl.col("item").alias(ITEM),
        pl.lit("click").alias("event"),
        pl.lit(None).alias("value"),
        "request_id",
        pl.col(TIME) + pl.col("after"),
        pl.lit(0).alias("received"),
    )
    return impressions.cast(dict(PLACES)), events.cast(dict(SCHEMA))  # type: ignore[arg-type]


def test_who_clicks_everything_is_found_among_ordinary_people(tmp_path: Path):
    world = World(Config(users=500, items=200, days=60, repeats=True))
    impressions, events = ordinary(world, 0.1, np.random.default_rng(0))
    first = impressions["seq"].max() + 1  # type: ignore[operator]
    shown = impressions.filter(pl.col("seq") <= 60).with_columns(
        pl.col("seq") + first, ("bot" + pl.col("request_id")).alias("request_id"), pl.lit("bot").alias(USER)
    )
    clicks = shown.select(
        "seq",
        pl.concat_str("request_id", "position").alias("event_id"),
        USER,
        ITEM,
        pl.lit("click").alias("event"),
        pl.lit(None, dtype=pl.Float64).alias("value"),
        "request_id",
        TIME,
        pl.lit(0, dtype=pl.Int64).alias("received"),
    )
    outcome = attribute(events=[events, clicks], impressions=[impressions, shown], config=FEW, now=0, scratch=tmp_path)
    assert outcome.account.events > 10_000
    assert outcome.flags["user_id"].unique().to_list() == ["bot"]


@pytest.mark.slow
def test_ordinary_people_are_hardly_ever_flagged(tmp_path: Path):
    """At most one of 10,000, in 20 worlds of 500."""
    flagged_users = 0
    for seed in range(20):
        world = World(Config(seed=seed, users=500, items=200, days=60, repeats=True))
        impressions, events = ordinary(world, 0.1, np.random.default_rng(seed))
        outcome = attribute(events=[events], impressions=[impressions], config=FEW, now=0, scratch=tmp_path / f"{seed}")
        flagged_users += outcome.account.flagged_users
    assert flagged_users <= 1
