from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from recloop.columns import IMPRESSIONS, INTERACTIONS
from recloop.config import parse
from recloop.data.tables import TIMESTAMP, read_tables, write_parquet
from recloop.errors import ConfigError, SourceError, StoreError
from recloop.loop import logged
from recloop.loop.attribution import AttributionConfig, attribute
from recloop.sources import SourceContext, find
from recloop.sources import feedback as module
from recloop.sources.feedback import Config, read
from recloop.store import Event, Slate, Store

SECOND = 1_000_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def context(tmp_path: Path) -> SourceContext:
    return SourceContext(
        root=tmp_path, data=tmp_path / "data", cache=tmp_path / "cache", progress=lambda steps, description: steps
    )


def add(url: str, *events: tuple[str, str, str, str, int, float | None]) -> None:
    names = ("event_id", "user_id", "item_id", "event", "timestamp", "value")
    with Store.open(url) as store:
        store.add_events([Event(**dict(zip(names, event, strict=True))) for event in events])


def keep(context: SourceContext, url: str) -> str | None:
    """Ingest as the ingestion does: write the batch to the data folder."""
    batch = read(Config(url=url), context)
    if batch is None:
        return None
    (file,) = batch.interactions
    write_parquet(file[1], context.data / "interactions" / f"{file[0]}.parquet")
    return file[0]


def show(url: str, *numbers: int, arm: str = "champion", places: int = 2) -> None:
    with Store.open(url) as store:
        for number in numbers:
            slate = Slate(
                request_id=f"r{number}",
                timestamp=number * SECOND,
                bundle="b",
                policy="softmax",
                arm=arm,  # type: ignore[arg-type]
                worker="w",
                serial=number,
                items=[f"i{place}" for place in range(places)],
                scores=[0.5] * places,
                propensities=[0.25] * places,
                user_id="u",
            )
            store.add_slates([slate])


def impressions(context: SourceContext, url: str) -> dict[str, pl.DataFrame]:
    """Ingest with impressions, as the ingestion does."""
    batch = read(Config(url=url), context)
    assert batch is not None
    files = dict(batch.impressions)
    for name, frame in files.items():
        write_parquet(frame, context.data / "impressions" / f"{name}.parquet")
    for name, frame in batch.interactions:
        write_parquet(frame, context.data / "interactions" / f"{name}.parquet")
    return files


def test_events_become_canonical_interactions(context: SourceContext, url: str):
    add(url, ("b", "u2", "i1", "purchase", 20 * SECOND + 7, None), ("a", "u1", "i2", "rating", 10 * SECOND, 3.5))
    batch = read(Config(url=url), context)
    assert batch is not None
    ((_, frame),) = batch.interactions
    assert tuple(frame.columns) == INTERACTIONS
    assert frame.schema["timestamp"] == TIMESTAMP
    assert frame.schema["value"] == pl.Float32
    assert frame.rows() == [
        ("u1", "i2", datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC), "rating", 3.5),
        ("u2", "i1", datetime(1970, 1, 1, 0, 0, 20, 7, tzinfo=UTC), "purchase", 1.0),
    ]


def test_each_event_is_ingested_once(context: SourceContext, url: str):
    assert keep(context, url) is None
    add(url, ("a", "u", "i", "view", 1, None), ("b", "u", "i", "view", 2, None))
    assert keep(context, url) == "feedback-1-2"
    assert keep(context, url) is None
    add(url, ("b", "u", "i", "view", 2, None), ("c", "u", "i", "view", 3, None))
    assert str(keep(context, url)).startswith("feedback-")
    assert keep(context, url) is None
    parts = sorted((context.data / "interactions").glob("*.parquet"))
    assert [pl.read_parquet(part).height for part in parts] == [2, 1]


def test_another_store_than_before(context: SourceContext, tmp_path: Path):
    old, new = f"sqlite:///{tmp_path}/old.sqlite", f"sqlite:///{tmp_path}/new.sqlite"
    add(old, ("a", "u", "i", "view", 1, None), ("b", "u", "i", "view", 2, None))
    keep(context, old)
    add(new, ("c", "u", "i", "view", 3, None))
    with pytest.raises(SourceError, match=r"new\.sqlite ends at event 1, but the data already hold .* up to 2;"):
        read(Config(url=new), context)


def test_another_store_that_has_outgrown_the_old_one(context: SourceContext, tmp_path: Path):
    """Its first events lie below the watermark, so reading on would pass over them."""
    old, new = f"sqlite:///{tmp_path}/old.sqlite", f"sqlite:///{tmp_path}/new.sqlite"
    add(old, ("a", "u", "i", "view", 1, None), ("b", "u", "i", "rating", 2, 3.3))
    keep(context, old)
    add(new, *((f"{number}", "u", "j", "view", number, None) for number in range(4)))
    with pytest.raises(SourceError) as caught:
        read(Config(url=new), context)
    assert str(caught.value) == (
        f"The store at {new} holds other events 1 to 2 than feedback-1-2.parquet, so it is not the one that the data "
        f"came from; connect the store that they came from, or remove {context.data}/interactions/feedback-*.parquet."
    )
    add(old, ("c", "u", "i", "view", 3, None))
    assert keep(context, old) == "feedback-3-3"
    assert keep(context, old) is None


def test_a_store_that_cannot_be_reached(context: SourceContext):
    with pytest.raises(StoreError, match="cannot be reached"):
        read(Config(url="postgresql://me:secret@127.0.0.1:1/x"), context)


def test_the_store_lies_in_the_root_by_default(context: SourceContext, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RECLOOP_DATABASE_URL", raising=False)
    assert read(Config(), context) is None
    assert (context.root / "recloop.sqlite").is_file()


def test_it_is_found_by_its_name():
    assert find("feedback").source.read is read
    with pytest.raises(ConfigError, match=r"ingest\.feedback\.database is not a known parameter; .*: url\."):
        parse(Config, {"database": "x"}, "ingest.feedback")


def test_events_that_follow_from_a_slate_say_so(context: SourceContext, url: str):
    with Store.open(url) as store:
        event = Event(event_id="a", user_id="u", item_id="i1", event="click", timestamp=2, request_id="r1")
        store.add_events([event, replace(event, event_id="b", timestamp=1, request_id=None)])
    batch = read(Config(url=url), context)
    assert batch is not None
    ((_, frame),) = batch.interactions
    assert tuple(frame.columns) == (*INTERACTIONS, "request_id")
    assert frame["request_id"].to_list() == [None, "r1"]
    assert keep(context, url) == "feedback-1-2"
    assert tuple(read_tables(context.data).interactions.columns) == INTERACTIONS
    assert keep(context, url) is None, "the store is known again"


def test_what_was_shown_comes_with_the_events(context: SourceContext, url: str):
    show(url, 1, 2)
    show(url, 3, arm="shadow")
    assert read(Config(url=url), context) is None, "without an event there is nothing new"
    add(url, ("a", "u", "i1", "click", 2, None))
    files = impressions(context, url)
    assert list(files) == ["feedback-1-3"]
    frame = files["feedback-1-3"]
    assert tuple(frame.columns) == IMPRESSIONS
    assert frame.schema["timestamp"] == TIMESTAMP
    moments = [datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC) for second in (1, 2)]
    assert frame.rows() == [
        (f"r{number}", place, "u", f"i{place}", moments[number - 1], 0.5, 0.25, "softmax", "b", "champion")
        for number in (1, 2)
        for place in (0, 1)
    ]
    add(url, ("b", "u", "i1", "click", 3, None))
    assert impressions(context, url) == {}
    show(url, 4)
    add(url, ("c", "u", "i1", "click", 4, None))
    assert list(impressions(context, url)) == ["feedback-4-4"]


def test_large_numbers_of_impressions_become_several_files_of_whole_slates(
    context: SourceContext, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_PLACES", 7)
    after = Store.impressions_after
    monkeypatch.setattr(Store, "impressions_after", lambda store, seq: after(store, seq, limit=2))
    show(url, *range(1, 8), places=3)
    add(url, ("a", "u", "i1", "click", 2, None))
    files = impressions(context, url)
    assert list(files) == ["feedback-1-4", "feedback-5-7"]
    assert [frame.height for frame in files.values()] == [12, 9]


def test_large_numbers_of_events_become_several_files(
    context: SourceContext, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_EVENTS", 4)
    after = Store.events_after
    monkeypatch.setattr(Store, "events_after", lambda store, seq: after(store, seq, limit=2))
    add(url, *((f"e{number}", "u", "i", "view", number, None) for number in range(1, 8)))
    batch = read(Config(url=url), context)
    assert batch is not None
    files = dict(batch.interactions)
    assert list(files) == ["feedback-1-4", "feedback-5-7"]
    assert [frame.height for frame in files.values()] == [4, 3]


def test_attribution_reads_the_data_as_it_reads_the_store(context: SourceContext, url: str, tmp_path: Path):
    show(url, 1, 2, 3, places=4)
    with Store.open(url) as store:
        event = Event(event_id="a", user_id="u", item_id="i2", event="click", timestamp=2 * SECOND, request_id="r1")
        other = replace(event, event_id="b", request_id="r3", event="rating", value=3.5, timestamp=9 * SECOND)
        store.add_events([event, other, replace(event, event_id="c"), replace(event, event_id="d", request_id=None)])
        stored = attribute(
            events=store.events_after(0),
            impressions=store.impressions_after(0),
            config=AttributionConfig(parts=2),
            now=0,
            scratch=tmp_path / "1",
        )
    impressions(context, url)
    read_again = attribute(
        events=logged.events(context.data),
        impressions=logged.impressions(context.data),
        config=AttributionConfig(parts=2),
        now=0,
        scratch=tmp_path / "2",
    )
    assert read_again.account == stored.account
    assert stored.account.attributed == 2
    assert read_again.frame().equals(stored.frame())


def test_the_origin_is_known_when_people_were_erased(context: SourceContext, url: str):
    add(url, ("a", "ana", "i", "view", 1, None), ("b", "ben", "i", "view", 2, None))
    assert keep(context, url) == "feedback-1-2"
    add(url, ("c", "ana", "i", "view", 3, None), ("d", "ana", "j", "view", 4, None))
    assert keep(context, url) == "feedback-3-4"
    with Store.open(url) as store:
        store.erase("ana", "test")
    assert keep(context, url) is None, "the batch before the newest, which is all hers, tells where the data come from"
    later = 2_000_000_000 * SECOND
    add(url, ("e", "ana", "i", "view", later, None), ("f", "ben", "j", "view", 6, None))
    batch = read(Config(url=url), context)
    assert batch is not None
    ((name, events),) = batch.interactions
    assert (name, events["user_id"].to_list()) == ("feedback-5-6", ["ben", "ana"])
    with Store.open(url) as store:
        store.erase("ben", "test")
    (path,) = (context.data / "interactions").glob("feedback-1-2.parquet")
    write_parquet(read_tables(context.data).interactions.clear(), path)
    assert read(Config(url=url), context) is not None, "nothing is left to compare, and the store says why"


@pytest.mark.parametrize("newest", [3, 2])
def test_another_store_is_refused_though_it_erased_people(
    context: SourceContext, url: str, tmp_path: Path, newest: int
):
    add(url, *((f"e{number}", "ana", f"i{number}", "view", number, None) for number in range(1, newest + 1)))
    keep(context, url)
    other = f"sqlite:///{tmp_path}/other.sqlite"
    add(other, *((f"e{number}", "ben", "i", "view", number, None) for number in (1, 2, 3)))
    with Store.open(other) as store:
        store.erase("ana", "test")
    with pytest.raises(SourceError, match=rf"holds other events 1 to {newest} than feedback-1-{newest}\.parquet"):
        read(Config(url=other), context)
    add(other, ("e4", "cy", "i", "view", 4, None), ("e5", "cy", "i", "view", 5, None))
    path = context.data / "interactions" / "feedback-4-5.parquet"
    write_parquet(read_tables(context.data).interactions, path)
    with Store.open(other) as store:
        store.expire(before=4, held=3, asked_by="test")
    with pytest.raises(SourceError, match=r"holds other events 4 to 5 than feedback-4-5\.parquet"):
        read(Config(url=other), context)


def test_the_origin_is_known_when_all_that_the_data_hold_has_expired(context: SourceContext, url: str):
    add(url, ("a", "ana", "i", "view", 1, None), ("b", "ben", "i", "view", 2, None))
    keep(context, url)
    add(url, ("c", "cy", "i", "view", 1, None))
    with Store.open(url) as store:
        assert dict(store.expire(before=9, held=2, asked_by="test").counts) == {"events": 2}
    assert keep(context, url) == "feedback-3-3"
    assert read_tables(context.data).interactions["user_id"].to_list() == ["ana", "cy", "ben"]
