from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloop.config import parse
from recloop.errors import ConfigError
from recloop.loop.attribution import FATES, REWARDS, Account, Attribution, AttributionConfig, attribute
from recloop.loop.bots import BotConfig
from recloop.store import Event, Slate, Store
from recloop.store.events import SCHEMA
from recloop.store.slates import PLACES

SECOND = 1_000_000
NOON = 1_000_000 * SECOND
CONFIG = AttributionConfig(window_seconds=100, skew_seconds=10, parts=3)


def places(*slates: tuple[str, str | None, int, str, str]) -> pl.DataFrame:
    """Impressions of slates, each given as (request, user, seconds since noon, arm, items in one word)."""
    rows = [
        (seq, request, position, user, item, 9.0 - position, 0.5, "p", "b", arm, NOON + time * SECOND)
        for seq, (request, user, time, arm, items) in enumerate(slates, 1)
        for position, item in enumerate(items)
    ]
    return pl.DataFrame(rows, schema=PLACES, orient="row")


def happened(*events: tuple[str | None, str, str, str, float, float | None]) -> pl.DataFrame:
    """Events, each given as (request, user, item, type, seconds since noon, value), received in this order."""
    rows = [
        (seq, f"e{seq}", user, item, kind, value, request, NOON + round(time * SECOND), 0)
        for seq, (request, user, item, kind, time, value) in enumerate(events, 1)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@pytest.fixture
def attributed(tmp_path: Path) -> Any:
    runs = iter(range(100))

    def run(impressions: pl.DataFrame, events: pl.DataFrame, now: float = 1_000, **changes: Any) -> Attribution:
        return attribute(
            events=frames(events),
            impressions=frames(impressions),
            config=CONFIG.model_copy(update=changes),
            now=NOON + round(now * SECOND),
            scratch=tmp_path / f"{next(runs)}",
        )

    return run


def frames(frame: pl.DataFrame, rows: int = 4) -> Iterator[pl.DataFrame]:
    return frame.iter_slices(rows)


def only(account: Account, **counts: int) -> bool:
    expected = asdict(Account(**counts))
    assert asdict(account) == expected
    return True


def test_every_place_gets_its_rewards_and_delays(attributed: Any):
    outcome = attributed(
        places(("r1", "u", 0, "champion", "abcde"), ("r2", "v", 5, "canary", "ax")),
        happened(
            ("r1", "u", "b", "click", 3.5, None),
            ("r1", "u", "b", "purchase", 60, 12.0),
            ("r1", "u", "d", "view", 1, None),
            ("r1", "u", "c", "rating", 90, 2.5),
            ("r1", "u", "e", "share", 2, None),
            ("r1", "u", "e", "save", 2, None),
            ("r2", "v", "x", "view", 4, None),
        ),
    )
    columns = ["request_id", "item_id", "view", "click", "purchase", "rating", "other", "skip", "outcome"]
    assert outcome.frame().select(columns).rows() == [
        ("r1", "a", 0, 0, 0, None, 0, 1, "skip"),
        ("r1", "b", 0, 1, 1, None, 0, 0, "purchase"),
        ("r1", "c", 0, 0, 0, 2.5, 0, 0, "rating"),
        ("r1", "d", 1, 0, 0, None, 0, 1, "view"),
        ("r1", "e", 0, 0, 0, None, 2, 0, "none"),
        ("r2", "a", 0, 0, 0, None, 0, 0, "none"),
        ("r2", "x", 1, 0, 0, None, 0, 0, "view"),
    ]
    delays = [f"{kind}_delay" for kind in ("view", "click", "purchase", "rating")]
    assert outcome.frame().filter(pl.any_horizontal(pl.col(delays).is_not_null())).select(
        "item_id", *delays
    ).rows() == [
        ("b", None, 3_500_000, 60_000_000, None),
        ("c", None, None, None, 90_000_000),
        ("d", 1_000_000, None, None, None),
        ("x", -1_000_000, None, None, None),
    ]
    assert dict(outcome.frame().schema) == PLACES | REWARDS
    assert only(outcome.account, events=7, attributed=7, slates=2, impressions=7, acted=2, skipped=2)


@pytest.mark.parametrize(
    ("clicked", "skipped"),
    [("", ""), ("a", "b"), ("c", "abd"), ("e", "abcd"), ("ac", "bd"), ("abcde", ""), ("be", "acd")],
)
def test_what_lies_above_or_directly_below_is_skipped(attributed: Any, clicked: str, skipped: str):
    events = [("r", "u", item, "click", 1.0, None) for item in clicked]
    frame = attributed(places(("r", "u", 0, "champion", "abcde")), happened(*events)).frame()
    assert "".join(frame.filter(skip=1)["item_id"]) == skipped


def test_every_event_has_one_fate(attributed: Any):
    outcome = attributed(
        places(("r1", "u", 0, "champion", "abc"), ("r2", None, 20, "champion", "ab"), ("s", "u", 0, "shadow", "cde")),
        happened(
            (None, "u", "a", "click", 1, None),  # organic
            ("r9", "u", "a", "click", 1, None),  # unknown_request
            ("s", "u", "c", "click", 1, None),  # not_shown
            ("r1", "v", "a", "click", 1, None),  # other_user
            ("r1", "v", "z", "click", 1, None),  # other_user too, as that is asked first
            ("r1", "u", "z", "click", 1, None),  # not_on_slate
            ("r1", "u", "a", "click", -10.5, None),  # early
            ("r1", "u", "a", "click", 100.5, None),  # late
            ("r1", "u", "a", "click", 50, None),  # repeated: it came first, but happened later
            ("r1", "u", "a", "click", 2, None),
            ("r1", "u", "a", "view", 2, None),
            ("r1", "u", "b", "click", -10, None),  # the skew is allowed
            ("r1", "u", "c", "click", 100, None),  # the window's end belongs to it
            ("r2", "v", "b", "click", 21, None),  # a slate for nobody is for everybody
            ("r2", "w", "b", "click", 21, None),  # repeated, whoever says so; stored later
        ),
    )
    assert only(
        outcome.account,
        events=15,
        organic=1,
        unknown_request=1,
        not_shown=1,
        other_user=2,
        not_on_slate=1,
        early=1,
        late=1,
        repeated=2,
        attributed=5,
        slates=2,
        shadows=1,
        impressions=5,
        acted=4,
        skipped=1,
    )
    assert outcome.frame()["arm"].unique().to_list() == ["champion"]
    assert outcome.frame().filter(request_id="r1", item_id="a")["click_delay"].to_list() == [2 * SECOND]


def test_of_repeated_ratings_the_first_counts(attributed: Any):
    events = happened(
        ("r", "u", "a", "rating", 9, 1.0), ("r", "u", "a", "rating", 5, 4.0), ("r", "u", "b", "rating", 5, 3.0)
    )
    outcome = attributed(places(("r", "u", 0, "champion", "ab")), events)
    assert outcome.frame()["rating"].to_list() == [4.0, 3.0]
    assert (outcome.account.repeated, outcome.account.attributed) == (1, 2)


def test_a_rating_without_a_value_is_an_act_without_a_rating(attributed: Any):
    frame = attributed(places(("r", "u", 0, "champion", "ab")), happened(("r", "u", "b", "rating", 5, None))).frame()
    assert frame.select("rating", "outcome", "skip").rows() == [(None, "skip", 1), (None, "rating", 0)]


def test_an_item_that_stands_twice_gets_its_events_once(attributed: Any):
    frame = attributed(places(("r", "u", 0, "champion", "bab")), happened(("r", "u", "b", "click", 5, None))).frame()
    assert frame["click"].to_list() == [1, 0, 0]


def test_a_slate_is_complete_when_its_window_is_over(attributed: Any):
    slates = places(("r1", "u", 0, "champion", "ab"), ("r2", "u", 1, "champion", "a"))
    outcome = attributed(slates, happened(), now=100)
    assert outcome.frame()["complete"].to_list() == [True, True, False]
    assert only(outcome.account, slates=2, impressions=3, incomplete=1)


def test_other_names_of_events(attributed: Any):
    events = happened(
        ("r", "u", "a", "tap", 5, None), ("r", "u", "a", "click", 5, None), ("r", "u", "b", "open", 1, None)
    )
    outcome = attributed(places(("r", "u", 0, "champion", "abc")), events, clicks=("tap", "open"), views=())
    assert outcome.frame().select("click", "other").rows() == [(1, 1), (1, 0), (0, 0)]


def test_nothing_at_all(attributed: Any):
    outcome = attributed(places(), happened())
    assert only(outcome.account)
    assert outcome.frame().is_empty()
    assert list(outcome.frames()) == []


def test_flags_reach_the_places_of_their_users(attributed: Any):
    slates = places(
        *((f"b{n}", "bot", 7 * n, "champion", "ab") for n in range(4)),
        ("r", "u", 0, "champion", "ab"),
        ("n", None, 0, "champion", "ab"),
    )
    events = happened(
        *((f"b{n}", "bot", item, "click", 7 * n + 1.5 * n * (item == "b"), None) for n in range(4) for item in "ab"),
        ("r", "u", "a", "click", 1, None),
        ("n", "bot", "a", "click", 1, None),
    )
    outcome = attributed(slates, events, bots=BotConfig(everything_places=8, everything_share=0.9))
    assert outcome.flags.select("user_id", "reason", "measure").rows() == [("bot", "everything", 0.9)]
    flagged = outcome.frame().filter("flagged")["request_id"].unique().sort().to_list()
    assert flagged == ["b0", "b1", "b2", "b3", "n"], "nobody asked for n, but the bot acted on it"
    account = outcome.account
    assert (account.flagged_users, account.flagged_impressions, account.flagged_events) == (1, 10, 9)


@st.composite
def logs(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    users, items = st.sampled_from("uvw"), st.sampled_from("abcde")
    slate = st.tuples(
        st.none() | users,
        st.integers(-5, 5),
        st.sampled_from(["champion", "canary", "shadow"]),
        st.lists(items, min_size=1, max_size=5, unique=True).map("".join),
    )
    slates = [(f"r{n}", *one) for n, one in enumerate(draw(st.lists(slate, max_size=5)))]
    kinds = st.sampled_from(["view", "click", "purchase", "rating", "share"])
    requests = st.none() | st.integers(0, 6).map("r{}".format)
    event = st.tuples(requests, users, items, kinds, st.integers(-20, 120), st.none() | st.floats(1, 5))
    return places(*slates), happened(*draw(st.lists(event, max_size=30)))


@settings(max_examples=60)
@given(log=logs(), seed=st.integers(0, 99))
def test_no_event_is_lost_and_the_order_of_arrival_does_not_matter(log: Any, seed: int):
    impressions, events = log
    shuffled = events.sample(fraction=1, shuffle=True, seed=seed)
    outcomes = []
    for arrived, parts in ((events, 1), (shuffled, 5)):
        with TemporaryDirectory() as scratch:
            outcome = attribute(
                events=frames(arrived, 3),
                impressions=frames(impressions, 2),
                config=CONFIG.model_copy(update={"parts": parts}),
                now=NOON,
                scratch=Path(scratch),
            )
            outcomes.append((outcome.account, outcome.frame(), outcome.flags))
    (account, frame, flags), (other_account, other_frame, other_flags) = outcomes
    assert account == other_account
    assert frame.equals(other_frame)
    assert flags.equals(other_flags)
    counts = asdict(account)
    assert sum(counts[fate] for fate in FATES) == counts["events"] == events.height
    assert frame.height == impressions.filter(pl.col("arm") != "shadow").height
    assert (
        frame.select(PLACES.keys())
        .sort("seq", "position")
        .equals(impressions.filter(pl.col("arm") != "shadow").sort("seq", "position"))
    )
    known = frame.select(pl.col("view", "click", "purchase").sum(), pl.col("other").sum()).row(0)
    assert sum(known) <= counts["attributed"] <= sum(known) + frame.filter(pl.col("rating_delay").is_not_null()).height


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def test_the_store_gives_what_attribution_takes(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    url = f"sqlite:///{tmp_path}/s.sqlite" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    slate = Slate(
        request_id="r1",
        timestamp=NOON,
        bundle="b",
        policy="p",
        arm="champion",
        worker="w",
        serial=0,
        items=["a", "b", "c"],
        scores=[3.0, 2.0, 1.0],
        propensities=[0.5, 0.25, None],
        user_id="u",
    )
    click = Event(event_id="e", user_id="u", item_id="b", event="click", timestamp=NOON + 5, request_id="r1")
    with Store.open(url) as store:
        store.add_events([click, replace(click, event_id="f"), replace(click, event_id="g", request_id=None)])
        store.add_slates([slate, replace(slate, request_id="r2", serial=1)])
        outcome = attribute(
            events=store.events_after(0, limit=2),
            impressions=store.impressions_after(0, limit=2),
            config=CONFIG,
            now=NOON,
            scratch=tmp_path / "scratch",
        )
    assert outcome.frame()["outcome"].to_list() == ["skip", "click", "skip", "none", "none", "none"]
    assert only(
        outcome.account,
        events=3,
        organic=1,
        repeated=1,
        attributed=1,
        slates=2,
        impressions=6,
        incomplete=2,
        acted=1,
        skipped=2,
    )


def test_a_wrong_option_is_named():
    with pytest.raises(ConfigError, match=r"monitor\.attribution\.window_seconds is -1, but input should be greater"):
        parse(AttributionConfig, {"window_seconds": -1}, "monitor.attribution")
