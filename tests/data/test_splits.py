"""Splits and questions: by hand, and for all inputs that they never leak."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recloop.config import parse
from recloop.data.splits import Account, Split, SplitConfig, Targets, examples, split
from recloop.data.tables import canonical_interactions
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import ConfigError, DataError

START = datetime(2026, 1, 1, tzinfo=UTC)


def table(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """Canonical interactions from user, item and minute."""
    plain = [(user, item, START + timedelta(minutes=minute)) for user, item, minute in rows]
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC")}
    return canonical_interactions(pl.DataFrame(plain, schema=schema, orient="row"), "test")


def minutes(frame: pl.DataFrame) -> list[int]:
    return [int((time - START).total_seconds() // 60) for time in frame["timestamp"]]


def config(**values: Any) -> SplitConfig:
    return SplitConfig(**({"min_users": 1} | values))


def contexts_of(asked: Any) -> list[list[int]]:
    return [asked.contexts(row, row + 1).items.tolist() for row in range(len(asked))]


def targets_of(asked: Any) -> list[list[int]]:
    return [asked.targets[a:b].tolist() for a, b in pairwise(asked.offsets)]


# --- split --------------------------------------------------------------------------------------------------------


def test_temporal_cuts_all_events_at_two_times() -> None:
    parts = split(table(*((f"u{n % 2}", f"i{n}", n) for n in range(10))), config(valid_fraction=0.2, test_fraction=0.1))
    assert [minutes(part) for part in (parts.train, parts.valid, parts.test)] == [list(range(7)), [7, 8], [9]]


def test_events_of_a_boundarys_time_lie_after_it() -> None:
    times = [0, 1, 2, 3, 4, 4, 4, 7, 7, 7]
    rows = table(*((f"u{n % 3}", f"i{n}", time) for n, time in enumerate(times)))
    parts = split(rows, config(valid_fraction=0.4, test_fraction=0.1))
    assert [minutes(part) for part in (parts.train, parts.valid, parts.test)] == [[0, 1, 2, 3], [4, 4, 4], [7, 7, 7]]


def test_validation_can_be_left_out() -> None:
    parts = split(table(*(("u", f"i{n}", n) for n in range(5))), config(valid_fraction=0, test_fraction=0.4))
    assert (parts.train.height, parts.valid.height, parts.test.height) == (3, 0, 2)
    assert parts.summary["valid_window"] is None
    assert parts.summary["valid_examples"] == 0


def test_leave_last_out_takes_the_last_two_events_of_each_user() -> None:
    rows = table(
        ("a", "x", 0), ("a", "y", 5), ("a", "z", 9), ("a", "w", 3), ("b", "x", 1), ("b", "y", 2), ("c", "x", 8),
    )  # fmt: skip
    parts = split(rows, config(strategy="leave_last_out"))
    assert parts.train.select("user_id", "item_id").rows() == [
        ("a", "x"), ("b", "x"), ("b", "y"), ("a", "w"), ("c", "x"),
    ]  # fmt: skip
    assert parts.valid.select("user_id", "item_id").rows() == [("a", "y")]
    assert parts.test.select("user_id", "item_id").rows() == [("a", "z")]


def test_leave_last_out_orders_ties_by_item() -> None:
    parts = split(table(("a", "z", 0), ("a", "y", 0), ("a", "x", 0)), config(strategy="leave_last_out"))
    assert [part["item_id"].to_list() for part in (parts.train, parts.valid, parts.test)] == [["x"], ["y"], ["z"]]


def test_the_summary_counts_the_cold() -> None:
    rows = table(
        ("a", "x", 0), ("a", "y", 1), ("b", "x", 2), ("b", "y", 3), ("a", "x", 4), ("b", "new", 5),
        ("a", "new", 6), ("c", "x", 7), ("c", "y", 8), ("b", "x", 9),
    )  # fmt: skip
    summary = split(rows, config(valid_fraction=0.2, test_fraction=0.4)).summary
    stamp = "2026-01-01T00:0{}:00.000000+00:00".format
    assert summary == {
        "strategy": "temporal",
        "targets": "successive",
        "users": 3,
        "items": 2,
        "train_rows": 4,
        "valid_rows": 2,
        "test_rows": 4,
        "valid_examples": 1,
        "test_examples": 3,
        "empty_contexts": 1,
        "cold_users": 1,
        "cold_targets": 1,
        "train_window": [stamp(0), stamp(3)],
        "valid_window": [stamp(4), stamp(5)],
        "test_window": [stamp(6), stamp(9)],
    }


def test_too_few_users_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        split(table(*((f"u{n}", "i", n) for n in range(10))), config(min_users=3))
    assert str(caught.value) == (
        "The test part of the split has 1 user(s), fewer than split.min_users = 3; "
        "give more data, other fractions, or a lower min_users."
    )


@pytest.mark.parametrize("strategy", ["temporal", "leave_last_out"])
def test_no_events_are_refused(strategy: str) -> None:
    with pytest.raises(DataError, match=r"The training part of the split has 0 user\(s\)"):
        split(table(), config(strategy=strategy))


def test_one_time_for_all_leaves_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match=r"The training part of the split has 0 user\(s\)"):
        split(table(("a", "x", 0), ("b", "x", 0)), config())


def test_too_few_times_for_validation_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        split(table(("a", "x", 0), *((f"u{n}", "x", 1) for n in range(9))), config())
    assert str(caught.value) == (
        "The validation part of the split is empty, because too many events share one time; "
        "give finer timestamps, a larger split.valid_fraction, or 0 to do without."
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"strategy": "random"}, "split.strategy is 'random', but input should be 'temporal' or 'leave_last_out'"),
        ({"test_fraction": 0}, "split.test_fraction is 0, but input should be greater than 0; correct the value."),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "must leave something for training"),
    ],
)
def test_wrong_parameters_are_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SplitConfig, values, "split")
    assert sentence in str(caught.value)


# --- questions ----------------------------------------------------------------------------------------------------

ITEMS = Vocabulary(["p", "q", "r", "s"])
KNOWN = table(("a", "p", 0), ("a", "q", 1), ("a", "new", 2), ("a", "r", 3), ("z", "p", 0))
HELD = table(
    ("a", "s", 3), ("a", "p", 4), ("a", "s", 5), ("a", "new", 6), ("a", "gone", 7), ("b", "q", 4), ("b", "r", 4),
)  # fmt: skip


def ask(mode: Targets, *, mask_seen: bool = True) -> tuple[Any, Vocabulary, Account]:
    return examples(KNOWN, HELD, ITEMS, mode=mode, mask_seen=mask_seen)


def test_successive_targets_become_context_of_later_ones() -> None:
    asked, users, account = ask("successive", mask_seen=False)
    assert users.ids.to_list() == ["a", "b"]
    assert asked.users.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert targets_of(asked) == [[3], [0], [3], [UNKNOWN], [UNKNOWN], [1], [2]]
    # r at minute 3 is no context of s at minute 3; of two events at minute 4 neither is context of the other
    assert contexts_of(asked) == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 0], [0, 1, 2, 3, 0, 3], [0, 1, 2, 3, 0, 3], [], []]
    assert (account.seen, account.repeated, account.unknown, account.empty) == (0, 0, 2, 2)


def test_what_was_seen_is_not_asked_when_it_is_masked() -> None:
    asked, _, account = ask("successive")
    assert targets_of(asked) == [[3], [UNKNOWN], [UNKNOWN], [1], [2]]
    assert (account.seen, account.unknown, account.empty) == (2, 2, 2)
    asked_at = [int(time // 60_000_000 - START.timestamp() // 60) for time in account.times]
    assert asked_at == [3, 6, 7, 4, 4]


def test_last_asks_for_what_remains_last() -> None:
    asked, _, account = examples(KNOWN, HELD.filter(pl.col("item_id").is_in(["s", "p", "q", "r"])), ITEMS, mode="last")
    assert targets_of(asked) == [[3], [2]]
    assert contexts_of(asked) == [[0, 1], []]
    assert account.seen == 2


def test_all_is_one_set_before_the_first_target() -> None:
    asked, _, account = ask("all")
    # at minute 3 the context is p and q; p is seen, the second s is repeated, new and gone are different items
    assert targets_of(asked) == [[3, UNKNOWN, UNKNOWN], [1, 2]]
    assert contexts_of(asked) == [[0, 1], []]
    assert (account.seen, account.repeated, account.unknown, account.empty) == (1, 1, 2, 1)
    assert len(account.times) == 2


def test_left_out_last_events_are_asked_after_everything_that_was_learned_from() -> None:
    known = table(("u", "a", 1), ("u", "b", 5), ("v", "a", 2))
    later = table(("u", "c", 5), ("v", "b", 3))
    items = Vocabulary(["a", "b", "c"])
    shown = examples(known, later, items, mode="successive", strategy="leave_last_out")[0]
    assert contexts_of(shown) == [[0, 1], [0]]
    hidden = examples(known, later, items, mode="successive")[0]
    assert contexts_of(hidden) == [[0], [0]]


def test_values_stay_with_their_targets() -> None:
    held = HELD.with_columns(pl.int_range(pl.len()).cast(pl.Float32).alias("value"))
    asked, users, _ = examples(KNOWN, held, ITEMS, mode="all", mask_seen=False)
    by_hand = {(row["user_id"], row["item_id"]): row["value"] for row in held.reverse().to_dicts()}
    names = [users.ids[int(user)] for user in np.repeat(asked.users, np.diff(asked.offsets))]
    known = asked.targets != UNKNOWN
    found = zip(np.array(names)[known], ITEMS.decode(asked.targets[known]), asked.values[known], strict=True)
    assert all(by_hand[user, item] == value for user, item, value in found)


@pytest.mark.parametrize("mode", ["successive", "last", "all"])
def test_nothing_held_is_no_question(mode: Targets) -> None:
    asked, users, account = examples(KNOWN, HELD.clear(), ITEMS, mode=mode)
    assert (len(asked), len(users), account.seen, len(account.times)) == (0, 0, 0, 0)
    assert asked.offsets.tolist() == [0]


@pytest.mark.parametrize("mode", ["successive", "last", "all"])
def test_an_empty_catalogue_leaves_targets_unknown(mode: Targets) -> None:
    asked, _, account = examples(KNOWN, HELD, Vocabulary([]), mode=mode)
    assert set(asked.targets.tolist()) == {UNKNOWN}
    assert account.empty == len(asked)


# --- properties ---------------------------------------------------------------------------------------------------

events = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("pqrstu"), st.integers(0, 12)), min_size=1, max_size=40
)
configs = st.builds(
    SplitConfig,
    strategy=st.sampled_from(["temporal", "leave_last_out"]),
    targets=st.sampled_from(["successive", "last", "all"]),
    valid_fraction=st.sampled_from([0.0, 0.1, 0.3]),
    test_fraction=st.sampled_from([0.1, 0.25, 0.6]),
    min_users=st.just(1),
)


def _split_or_give_up(rows: list[tuple[str, str, int]], chosen: SplitConfig) -> Split:
    try:
        return split(table(*rows), chosen)
    except DataError:
        assume(False)
        raise


@settings(deadline=None)
@given(events, configs)
def test_every_row_is_in_exactly_one_part(rows: list[tuple[str, str, int]], chosen: SplitConfig) -> None:
    parts = _split_or_give_up(rows, chosen)
    together = pl.concat([parts.train, parts.valid, parts.test])
    assert together.sort(together.columns).equals(table(*rows).sort(together.columns))


@settings(deadline=None)
@given(events, configs)
def test_training_ends_before_what_is_asked(rows: list[tuple[str, str, int]], chosen: SplitConfig) -> None:
    parts = _split_or_give_up(rows, chosen)
    ordered = [part for part in (parts.train, parts.valid, parts.test) if part.height]
    for earlier, later in pairwise(ordered):
        if chosen.strategy == "temporal":
            assert max(minutes(earlier)) < min(minutes(later))
        else:
            last = dict(earlier.group_by("user_id").agg(pl.col("timestamp").max()).rows())
            for user, first in later.group_by("user_id").agg(pl.col("timestamp").min()).rows():
                assert last[user] <= first


@settings(deadline=None)
@given(events, configs, st.booleans())
def test_no_context_holds_what_comes_at_or_after_its_question(
    rows: list[tuple[str, str, int]],
    chosen: SplitConfig,
    mask_seen: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    parts = _split_or_give_up(rows, chosen)
    catalogue = Vocabulary(parts.train["item_id"])
    known = pl.concat([parts.train, parts.valid])
    asked, users, account = examples(known, parts.test, catalogue, mode=chosen.targets, mask_seen=mask_seen)
    for row in range(len(asked)):
        context = asked.contexts(row, row + 1)
        user, when = users.ids[int(asked.users[row])], int(account.times[row])
        assert (context.timestamps < when).all()
        # and it holds all that may be shown
        may = known if chosen.targets == "all" else pl.concat([known, parts.test])
        shown = may.filter(
            (pl.col("user_id") == user)
            & (pl.col("timestamp").cast(pl.Int64) < when)
            & pl.col("item_id").is_in(catalogue.ids.to_list())
        )
        assert sorted(catalogue.decode(context.items)) == sorted(shown["item_id"])
        targets = asked.targets[asked.offsets[row] : asked.offsets[row + 1]]
        assert len(targets)
        if mask_seen:
            assert not set(targets.tolist()) & set(context.items.tolist())


@settings(deadline=None)
@given(events, configs, st.booleans())
def test_every_target_is_asked_or_accounted_for(
    rows: list[tuple[str, str, int]],
    chosen: SplitConfig,
    mask_seen: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    parts = _split_or_give_up(rows, chosen)
    catalogue = Vocabulary(parts.train["item_id"])
    known = pl.concat([parts.train, parts.valid])
    asked, _, account = examples(known, parts.test, catalogue, mode=chosen.targets, mask_seen=mask_seen)
    if chosen.targets == "last":
        assert len(asked) == len(np.unique(asked.users)) == len(asked.targets)
    else:
        assert len(asked.targets) + account.seen + account.repeated == parts.test.height
    assert (np.diff(asked.users) >= 0).all()
