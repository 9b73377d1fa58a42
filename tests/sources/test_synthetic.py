from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from recloop.config import parse
from recloop.errors import ConfigError
from recloop.sources import SourceContext, synthetic
from recloop.sources.synthetic import DAY, Config, World

SMALL = Config(users=40, items=30, categories=3, days=20)


def categories_by_half(config: Config, context: SourceContext) -> pl.DataFrame:
    """Share of each category in the first and in the second half of the time covered."""
    world = World(config)
    tables = world.tables(context)
    assert tables.items is not None
    category = tables.items.select("item_id", pl.col("categories").list.first())
    late = pl.col("timestamp").dt.epoch("us") >= (world.start + world.end) // 2
    events = tables.interactions.join(category, on="item_id").with_columns(late.alias("late"))
    counts = events.group_by("late", "categories").len().pivot("late", index="categories", values="len").fill_null(0)
    return counts.select(pl.col("false") / pl.col("false").sum(), pl.col("true") / pl.col("true").sum())


def instability(shares: pl.DataFrame) -> float:
    """The population stability index between two columns of shares."""
    before, after = (np.maximum(shares[name].to_numpy(), 1e-4) for name in ("false", "true"))
    return float(np.sum((after - before) * np.log(after / before)))


def test_the_tables_are_canonical_and_complete(context: SourceContext) -> None:
    batch = synthetic.read(SMALL, context)
    tables = batch.tables
    assert batch.name == "synthetic"
    assert list(tables.present()) == ["interactions", "items", "users", "knowledge"]
    assert tables.items is not None
    assert tables.users is not None
    assert tables.knowledge is not None
    assert (tables.items.height, tables.users.height, tables.knowledge.height) == (30, 40, 30)
    assert tables.interactions["item_id"].is_in(tables.items["item_id"].implode()).all()
    assert tables.interactions["user_id"].is_in(tables.users["user_id"].implode()).all()
    assert tables.interactions["value"].is_between(1, 5).all()
    assert (
        tables.interactions["timestamp"]
        .is_between(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 21, tzinfo=UTC), closed="left")
        .all()
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), drift_at=st.sampled_from([None, 0.5]), cells=st.integers(1, 5_000))
def test_a_seed_gives_one_world_however_it_is_cut(seed: int, drift_at: float | None, cells: int) -> None:
    context = SourceContext(root=Path(), data=Path(), cache=Path())
    config = SMALL.model_copy(update={"seed": seed, "drift_at": drift_at})
    whole = World(config).interactions(context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "_CELLS", cells)
        assert World(config).interactions(context).equals(whole)


def test_another_seed_gives_another_world(context: SourceContext) -> None:
    one, other = (synthetic.read(SMALL.model_copy(update={"seed": seed}), context).tables for seed in (0, 1))
    assert not one.interactions.equals(other.interactions)


def test_no_event_before_its_item_appeared(context: SourceContext) -> None:
    world = World(SMALL.model_copy(update={"cold_items": 0.4}))
    appears = pl.DataFrame({"item_id": world.item_ids, "appears": world.appears})
    events = world.interactions(context).join(appears, on="item_id")
    assert (events["timestamp"].dt.epoch("us") >= events["appears"]).all()
    cold = world.appears > world.start
    assert cold.sum() == 12
    assert (world.appears[cold] >= (world.start + world.end) // 2).all()
    assert np.isneginf(world.affinity([0, 1, 2], world.start)[:, cold]).all()
    assert np.isfinite(world.affinity([0, 1, 2], world.end)).all()


def test_affinity_is_taste_plus_popularity() -> None:
    world = World(Config(users=5, items=7, dimensions=3, taste=0.5, popularity=2, cold_items=0))
    users, times = [4, 0], [world.start, world.end]
    affinity = world.affinity(users, times)
    assert affinity.shape == (2, 7)
    by_hand = 0.5 * 3**0.5 * sum(world.tastes([4], world.start)[0, d] * world.places_ID[6, d] for d in range(3))
    assert affinity[0, 6] == pytest.approx(by_hand + world.popularity[6])
    assert sorted(world.popularity) == pytest.approx(sorted(-2 * np.log(np.arange(1, 8))))
    assert np.linalg.norm(world.tastes([0, 1, 2], 0), axis=1) == pytest.approx(1)


def test_choices_follow_the_affinity() -> None:
    world = World(Config(users=3, items=6, cold_items=0.4))
    users, time = np.full(40_000, 2), world.start
    chosen = world.choose(users, time, np.random.default_rng(0))
    share = np.bincount(chosen, minlength=6) / len(users)
    assert share == pytest.approx(softmax(world.affinity([2], time)[0]), abs=0.01)


def test_the_truth_ranks_what_people_chose(context: SourceContext) -> None:
    world = World(Config(users=200, items=100))
    events = world.interactions(context).tail(1_000)
    user, item = (events[name].str.slice(1).cast(pl.Int64).to_numpy() for name in ("user_id", "item_id"))
    affinity = world.affinity(user, events["timestamp"].dt.epoch("us").to_numpy())
    ahead = (affinity > affinity[np.arange(len(item)), item][:, None]).sum(axis=1)
    by_popularity = (world.popularity > world.popularity[item][:, None]).sum(axis=1)
    assert ahead.mean() < 0.75 * by_popularity.mean() < 0.75 * 49.5


def test_tastes_move_at_the_given_time_as_far_as_asked() -> None:
    world = World(SMALL.model_copy(update={"drift_at": 0.25, "drift_strength": 0.5}))
    assert world.drift_time == world.start + 5 * DAY
    users = np.arange(40)
    before, after = world.tastes(users, world.drift_time - 1), world.tastes(users, world.drift_time)
    still = World(SMALL)
    assert still.drift_time is None
    assert np.array_equal(before, still.tastes(users, still.end))
    whole = World(SMALL.model_copy(update={"drift_at": 0.25}))
    assert after == pytest.approx(0.5 * before + 0.5 * whole.tastes(users, whole.end))
    mixed = world.tastes([3, 3], [world.start, world.end])
    assert np.array_equal(mixed, np.stack([before[3], after[3]]))


def test_the_population_drifts_only_if_asked(context: SourceContext) -> None:
    still, moving = [], []
    for seed in range(5):
        config = Config(seed=seed, users=300, items=150, cold_items=0)
        still.append(instability(categories_by_half(config, context)))
        moving.append(instability(categories_by_half(config.model_copy(update={"drift_at": 0.5}), context)))
    assert max(still) < 0.05
    assert min(moving) > 0.2


def test_repeats_are_left_out_unless_allowed(context: SourceContext) -> None:
    once = World(SMALL).interactions(context)
    assert once.n_unique(["user_id", "item_id"]) == once.height
    often = World(SMALL.model_copy(update={"repeats": True})).interactions(context)
    assert often.n_unique(["user_id", "item_id"]) < often.height
    assert often.n_unique(["user_id", "item_id", "timestamp"]) == often.height


def test_popularity_follows_zipf_where_tastes_play_no_part(context: SourceContext) -> None:
    config = Config(users=2_000, items=50, taste=0, popularity=1, cold_items=0, repeats=True)
    counts = World(config).interactions(context)["item_id"].value_counts(sort=True)["count"].to_numpy()
    assert counts[:10] / counts[0] == pytest.approx(1 / np.arange(1, 11), rel=0.1)


def test_progress_is_shown(context: SourceContext) -> None:
    seen: list[str] = []

    def watch(steps: Iterable[object], description: str) -> Iterable[object]:
        seen.append(description)
        return steps

    synthetic.read(SMALL, replace(context, progress=watch))
    assert seen == ["living through sessions"]


def test_a_naive_start_means_utc() -> None:
    assert World(Config(start=datetime(2024, 1, 1))).start == World(Config()).start  # noqa: DTZ001 - what is tested


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Config, {"drift_at": 2}, "params.yaml: ingest.synthetic")
    assert str(caught.value) == (
        "params.yaml: ingest.synthetic.drift_at is 2, but input should be less than or equal to 1; correct the value."
    )
