import fcntl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from recloop import people, versions
from recloop.data import swap
from recloop.data.pseudonyms import Pseudonyms
from recloop.data.tables import canonical_interactions, read_parquet, read_tables, write_parquet
from recloop.errors import ConfigError, DataError, SourceError
from recloop.ingestion import ingest
from recloop.people import forget
from recloop.sources import SourceContext, feedback
from recloop.store import Event, Slate, Store
from tests.support.bundles import popularity_bundle
from tests.test_ingestion import SMALL, dvc, empty_project, git, project

__all__ = ["empty_project", "project"]
SECOND = 1_000_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    else:
        url = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("RECLOOP_DATABASE_URL", url)
    return url


def event(event_id: str, user_id: str, timestamp: int = 1_700_000_000 * SECOND) -> Event:
    return Event(event_id=event_id, user_id=user_id, item_id="i1", event="click", timestamp=timestamp)


def slate(number: int, user_id: str) -> Slate:
    return Slate(
        request_id=f"r{number}",
        timestamp=1_700_000_000 * SECOND,
        bundle="b",
        policy="top_n",
        arm="champion",
        worker="w",
        serial=number,
        items=["i1", "i2"],
        scores=[2.0, 1.0],
        propensities=[1.0, 1.0],
        user_id=user_id,
    )


def holding(folder: Path, user_id: str) -> Iterator[Path]:
    """Files below a folder that hold a user, Parquet files wherever they lie and whatever their name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.read_bytes()[:4] == b"PAR1":
            frame = read_parquet(path)
            if "user_id" in frame.columns and user_id in frame["user_id"]:
                yield path


@pytest.mark.integration
class TestForget:
    def test_a_person_leaves_store_and_data_and_does_not_come_back(self, project: Path, url: str) -> None:
        ingest(SMALL, project)
        tables = read_tables(project / "data")
        ana, ben = tables.interactions["user_id"].unique().sort()[:2]
        rows = tables.interactions.filter(user_id=ana).height
        popularity_bundle(project / "artifacts" / "bundle", tables.interactions)
        with Store.open(url) as store:
            store.add_events([event("a", ana), event("b", ben), event("c", ana)])
            store.add_slates([slate(0, ana), slate(1, ben)])
        old = ingest(SMALL, project, "feedback").version
        git(project, "add", "data.dvc")
        git(project, "commit", "--quiet", "--message=data")
        report = forget(SMALL, project, ana, "a letter")
        assert dict(report.erasure.counts) == {"events": 2, "slates": 1, "impressions": 2}
        assert report.rows == {"interactions": rows + 2, "impressions": 2, "users": 1}
        assert (report.pushed, report.bundles) == (False, [Path("artifacts/bundle")])
        assert versions.version(project) == report.version != old
        assert list(holding(project / "data", ana)) == []
        assert len(list(holding(project / "data", ben))) == 4
        with Store.open(url) as store:
            noted = store.erasures()
            assert [(row.place, dict(row.counts), row.asked_by) for row in noted] == [
                ("store", dict(report.erasure.counts), "a letter"),
                ("data", report.rows, "a letter"),
            ]
            assert store.slate_gaps() == []
        assert not ingest(SMALL, project, "feedback").changed
        assert not ingest(SMALL, project).changed, "the source still holds the person"
        later = report.erasure.until + 1
        with Store.open(url) as store:
            store.add_events([event("d", ana, later), event("e", ana)])
        assert ingest(SMALL, project, "feedback").rows["interactions"] == 1
        assert read_tables(project / "data").interactions.filter(user_id=ana).height == 1
        assert len(list(holding(project / ".dvc" / "cache", ana))) > 1
        dvc(project, *report.purge.split()[1:])
        assert len(list(holding(project / ".dvc" / "cache", ana))) == 1, "somebody new"
        assert ana not in "".join(map(repr, noted))

    def test_the_same_command_completes_what_was_interrupted(
        self, project: Path, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ingest(SMALL, project)
        ana = read_tables(project / "data").interactions["user_id"][0]
        old = versions.version(project)

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(swap, "adopt", killed)
            with pytest.raises(KeyboardInterrupt):
                forget(SMALL, project, ana, "test")
        assert list(holding(project / "data", ana))
        with monkeypatch.context() as patch:
            patch.setattr(versions, "dvc", killed)
            with pytest.raises(KeyboardInterrupt):
                forget(SMALL, project, ana, "test")
        assert versions.version(project) == old
        assert list(holding(project / "data", ana)) == []
        report = forget(SMALL, project, ana, "test")
        assert versions.version(project) == report.version != old
        assert dvc(project, "status", "--json").strip() == "{}"
        assert forget(SMALL, project, ana, "test").version == report.version

    def test_the_next_ingestion_takes_out_whom_the_service_erased(self, project: Path, url: str) -> None:
        ingest(SMALL, project)
        ana = read_tables(project / "data").interactions["user_id"][0]
        with Store.open(url) as store:
            store.erase(ana, "the service")
        assert ingest(SMALL, project, "feedback").changed
        assert list(holding(project / "data", ana)) == []
        with Store.open(url) as store:
            last = store.erasures()[-1]
        assert (last.place, last.asked_by) == ("data", "the ingestion of feedback")
        assert not ingest(SMALL, project).changed


def test_without_data_only_the_store_is_searched(tmp_path: Path) -> None:
    with Store.open(root=tmp_path) as store:
        store.add_events([event("a", "ana")])
    report = forget({}, tmp_path, "ana", "test")
    assert report.sentences() == [
        "gone from the store: 1 events",
        "gone from the data: nothing was there",
        "no data here: only the store was searched",
    ]


def test_a_person_is_found_under_their_pseudonym(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Pseudonyms(variable="SECRET", key=b"k" * 32)
    params = {"ingest": {"pseudonyms": "SECRET"}}
    with Store.open(root=tmp_path) as store:
        store.add_events([event("a", names.of("ana")), event("b", "ana")])
        with pytest.raises(ConfigError, match="SECRET is not set"):
            forget(params, tmp_path, "ana", "test")
        monkeypatch.setenv("SECRET", "k" * 32)
        assert dict(forget(params, tmp_path, "ana", "test").erasure.counts)["events"] == 1
        (left,) = store.events_after(0)
        assert left["user_id"].to_list() == ["ana"]


def test_a_version_that_is_not_here_is_named_and_nobody_is_erased(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0.dir\n  path: data\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        forget({}, tmp_path, "ana", "test")
    assert str(caught.value) == f"{tmp_path}/data is missing, so nobody can be taken out of it; run 'dvc pull' first."
    with Store.open(root=tmp_path) as store:
        assert store.erasures() == []


def test_data_outside_of_dvc_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ConfigError, match="is not a DVC project"):
        forget({}, tmp_path, "ana", "test")


def test_nobody_is_forgotten_while_an_ingestion_runs(tmp_path: Path) -> None:
    folder = tmp_path / versions.SCRATCH
    folder.mkdir(parents=True)
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="Another ingestion is running"):
            forget({}, tmp_path, "ana", "test")


def test_the_report_says_what_is_gone_and_what_is_not(tmp_path: Path) -> None:
    with Store.open(root=tmp_path) as store:
        erasure = store.erase("ana", "test")
    report = people.Forgotten(
        erasure=erasure,
        rows={"interactions": 1234, "users": 1},
        version="abc.dir",
        pushed=True,
        bundles=[Path("artifacts/bundle")],
        purge="dvc gc --workspace --force --cloud",
    )
    assert report.sentences() == [
        "gone from the store: nothing was there",
        "gone from the data: 1,234 interactions, 1 users",
        "data version without the person: abc.dir",
        "artifacts/bundle still holds the person; the service answers them as unknown",
        "artifacts/ made of older data still hold the person until 'recloop run' has made them anew",
        (
            "older versions in DVC's cache and remote still hold the person; when data.dvc and dvc.lock are committed, "
            "'dvc gc --workspace --force --cloud' removes them"
        ),
    ]
    assert "ana" not in " ".join(report.sentences())


@pytest.mark.parametrize("text", ["", "365", "0d", "-1d", "1y", "1.5d", "d", "123456d"])
def test_an_age_is_a_number_of_days(text: str) -> None:
    assert people.age("365d") == timedelta(days=365)
    with pytest.raises(ConfigError) as caught:
        people.age(text)
    assert str(caught.value) == f"'{text}' is not an age; write a number of days from 1 to 99999, such as 365d."


def ingested(root: Path) -> None:
    """What an ingestion leaves in the data folder, without versions."""
    batch = feedback.read(
        feedback.Config(), SourceContext(root=root, data=root / "data", cache=root / "cache", progress=lambda s, _: s)
    )
    assert batch is not None
    for name, frame in batch.interactions:
        write_parquet(frame, root / "data" / "interactions" / f"{name}.parquet")


def test_old_events_leave_the_store_once_the_data_hold_them(tmp_path: Path, url: str) -> None:
    day, now = 86_400 * SECOND, 1_700_000_000 * SECOND
    with Store.open(url) as store:
        store.add_events([event("a", "ana", now - 31 * day), event("b", "ben", now - 29 * day)])
        ingested(tmp_path)
        store.add_events([event("c", "cy", now - 31 * day)])
        expired = people.expire({}, tmp_path, timedelta(days=30), "test", now)
        assert (expired.place, dict(expired.counts)) == ("age", {"events": 1})
        (left,) = store.events_after(0)
        assert left["event_id"].to_list() == ["b", "c"]
        assert read_tables(tmp_path / "data").interactions["user_id"].to_list() == ["ana", "ben"]
        assert dict(people.expire({}, tmp_path, timedelta(days=20), "test", now).counts) == {"events": 1}
        ingested(tmp_path)
        assert sorted(read_tables(tmp_path / "data").interactions["user_id"]) == ["ana", "ben", "cy"]
        assert dict(people.expire({}, tmp_path, timedelta(days=1), "test", now).counts) == {"events": 1}
        assert store.count_events() == 0
        store.add_events([event("d", "di", now)])
        ingested(tmp_path)
    assert (tmp_path / "data" / "interactions" / "feedback-4-4.parquet").is_file()


def test_nothing_expires_from_a_store_that_the_data_do_not_know(tmp_path: Path, url: str) -> None:
    with Store.open(url) as store:
        store.add_events([event("a", "ana")])
        assert dict(people.expire({}, tmp_path, timedelta(days=1), "test", 1 << 60).counts) == {"events": 0}
    write_parquet(
        canonical_interactions(pl.DataFrame({"user_id": ["x"], "item_id": ["y"], "timestamp": [1]}), "x"),
        tmp_path / "data" / "interactions" / "feedback-1-1.parquet",
    )
    with pytest.raises(SourceError, match=r"holds other events 1 to 1 than feedback-1-1\.parquet"):
        people.expire({}, tmp_path, timedelta(days=1), "test", 1 << 60)
