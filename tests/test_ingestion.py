import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from recloop import ingestion, sources, versions
from recloop.config import Config
from recloop.data.pseudonyms import Pseudonyms, write_record
from recloop.data.tables import canonical_interactions, read_tables
from recloop.errors import ConfigError, DataError, RecloopError, SourceError
from recloop.ingestion import ingest
from recloop.people import forget
from recloop.sources import Appended
from tests.support.waiting import until

SMALL = {"ingest": {"source": "synthetic", "synthetic": {"users": 20, "items": 12, "days": 10}}}
LARGER = {"ingest": {"source": "synthetic", "synthetic": {"users": 30, "items": 12, "days": 10}}}


def command(root: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(root: Path, *words: str) -> str:
    return command(root, sys.executable, "-m", "dvc", *words)


def git(root: Path, *words: str) -> str:
    return command(root, "git", "-c", "user.name=tester", "-c", "user.email=tester@example.org", *words)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    git(root, "init", "--quiet")
    dvc(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=start")
    return root


@pytest.fixture
def project(empty_project: Path, tmp_path: Path) -> Path:
    return shutil.copytree(empty_project, tmp_path / "project")


class Clicks:
    """A source that appends: each reading brings the next two events."""

    VARIANTS: tuple[str, ...] = ()
    Config = Config

    def __init__(self, events: int) -> None:
        self.events = events
        self.impressions: Iterable[tuple[str, pl.DataFrame]] = ()

    def read(self, config: Config, context: sources.SourceContext) -> Appended | None:
        known = sources.watermark(context.data, "clicks")
        if known >= self.events:
            return None
        rows = [("1", "2", number) for number in (known + 1, known + 2)]
        frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
        name = sources.appended_name("clicks", known + 1, known + 2)
        return Appended(interactions=[(name, canonical_interactions(frame, "clicks"))], impressions=self.impressions)


@pytest.fixture
def clicks(monkeypatch: pytest.MonkeyPatch) -> Clicks:
    source = Clicks(events=4)
    find = sources.find
    monkeypatch.setattr(
        sources, "find", lambda name: sources.Found(source, "clicks", "") if name == "clicks" else find(name)
    )
    return source


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (
            {"ingest": {"sauce": "files"}},
            "params.yaml: ingest.sauce is not a known parameter; known ones are: feedback, files, movielens,",
        ),
        ({"ingest": {"source": 3}}, "params.yaml: ingest.source is 3, but input should be a valid string;"),
        ({"ingest": {"source": "netflix"}}, "There is no source 'netflix'; choose from: feedback, files,"),
        ({"ingest": {"source": "files"}}, "params.yaml: ingest.files.interactions is required; add it."),
        ({"ingest": {"movielens": {"adress": "x"}}}, "params.yaml: ingest.movielens.adress is not a known parameter;"),
        ({"ingest": {"synthetic": 4}}, None),
        ({"ingest": "files"}, "params.yaml: ingest must be a mapping"),
    ],
)
def test_wrong_parameters_are_named(tmp_path: Path, params: dict[str, Any], sentence: str | None) -> None:
    source = "synthetic" if sentence is None else None
    with pytest.raises(RecloopError) as caught:
        ingest(params, tmp_path, source)
    assert str(caught.value).startswith(sentence or "params.yaml: ingest.synthetic must be a mapping")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_dvc_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ingest(SMALL, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not a DVC project, so its data cannot be versioned; run 'git init' and 'dvc init' there first."
    )
    assert list(tmp_path.iterdir()) == []


KEY = "0123456789abcdef" * 2
WITH_NAMES: dict[str, Any] = {"ingest": SMALL["ingest"] | {"pseudonyms": "SECRET"}}


def test_a_key_that_is_not_there_is_named_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    with pytest.raises(ConfigError, match=r"in the environment variable SECRET is not set, and 32 are needed"):
        ingest(WITH_NAMES, tmp_path)
    assert not (tmp_path / "data").exists()
    with pytest.raises(
        ConfigError, match=r"^params\.yaml: ingest\.pseudonyms is '0x', but string should match pattern"
    ):
        ingest({"ingest": {"pseudonyms": "0x"}}, tmp_path)


def test_raw_ids_and_pseudonyms_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", KEY)
    data = tmp_path / "data"
    (tmp_path / ".dvc").mkdir()
    (data / "interactions").mkdir(parents=True)
    (data / "interactions" / "feedback-1-2.parquet").touch()
    with pytest.raises(DataError) as caught:
        ingest(WITH_NAMES, tmp_path)
    assert str(caught.value) == (
        f"{data} holds feedback with raw user ids, and pseudonyms may not be mixed with them; remove "
        f"'ingest.pseudonyms' from params.yaml, or remove {data} and {data}.dvc to begin anew, with an empty store."
    )
    write_record(Pseudonyms(variable="SECRET", key=b"k" * 32), data)
    with pytest.raises(ConfigError, match=r"SECRET is not the one that the pseudonyms were made with; set that key\.$"):
        ingest(WITH_NAMES, tmp_path)
    with pytest.raises(DataError) as caught:
        ingest(SMALL, tmp_path)
    assert str(caught.value) == (
        f"The user ids in {data} are pseudonyms by the key in SECRET, and raw ones may not be mixed with them; set "
        f"'ingest.pseudonyms: SECRET' in params.yaml, or remove {data} and {data}.dvc to begin anew."
    )


def test_only_one_ingestion_runs_at_a_time(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    folder = tmp_path / versions.SCRATCH
    folder.mkdir(parents=True)
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError) as caught:
            ingest(SMALL, tmp_path)
    assert str(caught.value) == (
        f"Another ingestion is running in {tmp_path}, and only one may run at a time; wait until it has ended."
    )
    assert not (tmp_path / "data").exists()


def test_recovery_brings_back_the_old_version(tmp_path: Path) -> None:
    ingestion.recover(tmp_path)
    assert list(tmp_path.iterdir()) == []
    old = tmp_path / versions.SCRATCH / "old"
    old.mkdir(parents=True)
    (old / "items.parquet").write_bytes(b"whole")
    ingestion.recover(tmp_path)
    assert content(tmp_path / "data") == {"items.parquet": b"whole"}
    assert not old.exists()


def test_a_failing_source_leaves_the_data_as_they_are(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "items.parquet").write_bytes(b"whole")
    with pytest.raises(SourceError, match="No file matches"):
        ingest({"ingest": {"source": "files", "files": {"interactions": "none.csv"}}}, tmp_path)
    assert content(tmp_path / "data") == {"items.parquet": b"whole"}


def test_a_damaged_pointer_is_named(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "data.dvc").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        ingest(SMALL, tmp_path)
    assert str(caught.value) == (f"{tmp_path}/data.dvc is not a file of DVC; restore it with 'git checkout data.dvc'.")


def test_a_failure_of_dvc_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    with pytest.raises(
        DataError, match=r"^'dvc add data' fails in .* \(.* is not a git repository\); correct that and ingest again\.$"
    ):
        ingest(SMALL, tmp_path)


@pytest.mark.integration
class TestVersions:
    def test_the_first_ingestion_writes_and_versions(self, project: Path) -> None:
        report = ingest(SMALL, project)
        assert (report.source, report.changed, report.pushed) == ("synthetic", True, False)
        assert report.version in (project / "data.dvc").read_text(encoding="utf-8")
        tables = read_tables(project / "data")
        assert report.rows == {name: frame.height for name, frame in tables.present().items()}
        assert set(content(project / "data")) == {
            "interactions/synthetic.parquet",
            "items.parquet",
            "users.parquet",
            "knowledge.parquet",
        }
        assert json.loads(dvc(project, "status", "--json")) == {}
        assert git(project, "status", "--short").split() == ["??", ".gitignore", "??", "data.dvc"]

    def test_the_same_again_touches_nothing(self, project: Path) -> None:
        first = ingest(SMALL, project)
        times = {path: path.stat().st_mtime_ns for path in [project / "data.dvc", *(project / "data").rglob("*")]}
        second = ingest(SMALL, project)
        assert second == replace(first, changed=False)
        assert {path: path.stat().st_mtime_ns for path in times} == times

    def test_other_content_is_another_version(self, project: Path) -> None:
        first, second = ingest(SMALL, project), ingest(LARGER, project)
        assert second.changed
        assert first.version != second.version
        (project / "events.csv").write_text("user_id,item_id,timestamp\n1,2,2024-03-01\n", encoding="utf-8")
        params = LARGER["ingest"] | {"files": {"interactions": "events.csv"}}
        third = ingest({"ingest": params}, project, "files")
        assert third.rows == {"interactions": 1}
        assert set(content(project / "data")) == {"interactions/files.parquet"}
        assert ingest(SMALL, project).version == first.version

    def test_a_fresh_clone_gets_the_same_version(self, project: Path, tmp_path: Path) -> None:
        version = ingest(SMALL, project).version
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message=data")
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", str(project), str(clone))
        report = ingest(SMALL, clone)
        assert (report.version, report.changed) == (version, False)
        assert git(clone, "status", "--porcelain") == ""
        assert json.loads(dvc(clone, "status", "--json", "data.dvc")) == {}
        assert content(clone / "data") == content(project / "data")

    def test_a_version_that_was_never_recorded_is_recorded(self, project: Path) -> None:
        version = ingest(SMALL, project).version
        (project / "data.dvc").unlink()
        assert ingest(SMALL, project) == replace(ingest(SMALL, project), changed=True)
        assert version in (project / "data.dvc").read_text(encoding="utf-8")

    def test_versions_go_to_the_default_remote(self, project: Path, tmp_path: Path) -> None:
        dvc(project, "remote", "add", "--default", "store", str(tmp_path / "remote"))
        assert ingest(SMALL, project).pushed
        kept = content(tmp_path / "remote").values()
        assert set(content(project / "data").values()) <= set(kept)

    def test_an_unreachable_remote_is_named(self, project: Path) -> None:
        dvc(project, "remote", "add", "--default", "store", "/dev/null/nowhere")
        with pytest.raises(
            DataError,
            match=r"^'dvc push data\.dvc' fails in .* \(.*Not a directory.*\); correct that and ingest again\.$",
        ):
            ingest(SMALL, project)
        assert json.loads(dvc(project, "status", "--json", "data.dvc")) == {}

    def test_appended_batches_are_kept_and_numbered(self, project: Path, clicks: Clicks) -> None:
        base = ingest(SMALL, project)
        appended = [ingest(SMALL, project, "clicks") for _ in range(3)]
        assert [report.rows for report in appended] == [{"interactions": 2}, {"interactions": 2}, {"interactions": 0}]
        assert [report.changed for report in appended] == [True, True, False]
        names = {path.stem for path in (project / "data" / "interactions").iterdir()}
        assert names == {"synthetic", "clicks-1-2", "clicks-3-4"}
        assert read_tables(project / "data").interactions.height == base.rows["interactions"] + 4
        assert not ingest(SMALL, project).changed
        ingest(LARGER, project)
        assert {path.stem for path in (project / "data" / "interactions").iterdir()} == names
        assert json.loads(dvc(project, "status", "--json")) == {}

    def test_user_ids_become_pseudonyms_in_every_table(
        self, project: Path, clicks: Clicks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = shutil.copytree(project, project.with_name("plain"))
        ingest(SMALL, plain)
        raw = read_tables(plain / "data")
        monkeypatch.setenv("SECRET", KEY)
        names = Pseudonyms(variable="SECRET", key=KEY.encode())
        ingest(WITH_NAMES, project)
        tables = read_tables(project / "data")
        assert tables.users is not None
        assert raw.users is not None
        assert tables.users["user_id"].to_list() == sorted(map(names.of, raw.users["user_id"]))
        assert tables.interactions.equals(canonical_interactions(names.in_frame(raw.interactions), "raw"))
        assert not any(KEY.encode() in path.read_bytes() for path in project.rglob("*") if path.is_file())
        assert not ingest(WITH_NAMES, project).changed
        before = content(project / "data")
        with pytest.raises(DataError, match=r"batch clicks-1-2 holds 1 user id\(s\) that are no pseudonyms"):
            ingest(WITH_NAMES, project, "clicks")
        assert content(project / "data") == before
        user = str(raw.interactions["user_id"][0])
        report = forget(WITH_NAMES, project, user, "test")
        assert report.rows == {"interactions": raw.interactions.filter(user_id=user).height, "users": 1}
        assert not ingest(WITH_NAMES, project).changed

    def test_impressions_are_appended_and_kept(self, project: Path, clicks: Clicks) -> None:
        ingest(SMALL, project)
        shown = pl.DataFrame({"request_id": ["r1", "r1", "r2"]})

        def breaks() -> Iterable[tuple[str, pl.DataFrame]]:
            yield "clicks-1-2", shown
            raise SourceError("The source went away.")

        before = content(project / "data")
        clicks.impressions = breaks()
        with pytest.raises(SourceError):
            ingest(SMALL, project, "clicks")
        assert content(project / "data") == before
        clicks.impressions = iter([("clicks-1-2", shown), ("clicks-3-3", shown[:2])])
        assert ingest(SMALL, project, "clicks").rows == {"interactions": 2, "impressions": 5}
        ingest(LARGER, project)
        files = sorted(path.name for path in (project / "data" / "impressions").iterdir())
        assert files == ["clicks-1-2.parquet", "clicks-3-3.parquet"]
        assert sources.watermark(project / "data", "clicks", "impressions") == 3

    def test_nothing_is_appended_to_missing_data(self, project: Path, clicks: Clicks) -> None:
        clicks.events = 0
        with pytest.raises(DataError) as caught:
            ingest(SMALL, project, "clicks")
        assert str(caught.value) == (
            "The source clicks has nothing new, and there are no data yet; ingest another one first."
        )
        clicks.events = 4
        (project / "data.dvc").write_text("outs:\n- md5: 0.dir\n  path: data\n", encoding="utf-8")
        with pytest.raises(DataError) as caught:
            ingest(SMALL, project, "clicks")
        assert str(caught.value) == (
            f"{project}/data is missing, so nothing can be appended to it; run 'dvc pull' or 'recloop ingest' first."
        )
        assert not (project / "data").exists()

    def test_appended_batches_are_not_lost_with_the_folder(self, project: Path, clicks: Clicks) -> None:
        ingest(SMALL, project)
        version = ingest(SMALL, project, "clicks").version
        shutil.rmtree(project / "data")
        with pytest.raises(DataError) as caught:
            ingest(SMALL, project)
        assert str(caught.value) == (
            f"{project}/data is missing, and its version in data.dvc holds interactions/clicks-1-2.parquet, which a "
            f"new version would lose; run 'dvc checkout' or 'dvc pull' first, or delete data.dvc to begin anew."
        )
        assert not (project / "data").exists()
        dvc(project, "checkout", "--quiet")
        assert ingest(SMALL, project).version == version

    @pytest.mark.parametrize("links", ["hardlink", "symlink"])
    def test_files_that_dvc_linked_are_never_modified(self, project: Path, clicks: Clicks, links: str) -> None:
        dvc(project, "config", "cache.type", links)
        first = ingest(SMALL, project)
        before = content(project / "data")
        ingest(SMALL, project, "clicks")
        ingest(LARGER, project)
        (project / "data.dvc").unlink()
        again = ingest(SMALL, project)
        assert again.version != first.version
        assert before.items() <= content(project / "data").items()
        dvc(project, "checkout", "--quiet")
        assert json.loads(dvc(project, "status", "--json")) == {}


KILLED = """
import os, random, signal, sys
from pathlib import Path
from recloop.ingestion import ingest

root, step = Path(sys.argv[1]), int(sys.argv[2])

def count(event, arguments):
    global step
    inside = any(str(root) in str(argument) for argument in arguments)
    if inside and event in {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "open", "subprocess.Popen"}:
        step -= 1
        if step < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
ingest({"ingest": {"synthetic": {"users": 30, "items": 12, "days": 10}}}, root, "synthetic")
"""


@pytest.mark.slow
@pytest.mark.integration
class TestKills:
    def test_a_kill_leaves_the_old_version_whole(self, project: Path) -> None:
        """Kill an ingestion before its n-th operation on the project's files, for every seventh n."""
        old = ingest(SMALL, project)
        before = content(project / "data")
        survived = False
        for step in range(0, 200, 7):
            done = subprocess.run([sys.executable, "-c", KILLED, project, str(step)], check=False)
            survived = done.returncode == 0
            if survived:
                break
            assert done.returncode == -signal.SIGKILL
            place = project / "data"
            present = content(place if place.exists() else project / versions.SCRATCH / "old")
            assert present == before or "interactions/synthetic.parquet" in present
            wait_for_lock(project)
            assert ingest(SMALL, project).version == old.version
            assert content(project / "data") == before
        assert survived
        assert content(project / "data") != before

    def test_kills_at_any_time_with_dvc_and_all(self, project: Path) -> None:
        """Kill an ingestion and the DVC that it runs after random times; the next one mends everything."""
        chance = random.Random(0)
        versions = {name: ingest(params, project).version for name, params in (("l", LARGER), ("s", SMALL))}
        for turn in range(4):
            script = KILLED.replace("sys.addaudithook(count)", "")
            process = psutil.Popen([sys.executable, "-c", script, project, "0"], stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.3, 3))
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()
            wait_for_lock(project)
            name, params = (("s", SMALL), ("l", LARGER))[turn % 2]
            assert ingest(params, project).version == versions[name]
            assert json.loads(dvc(project, "status", "--json")) == {}
            assert read_tables(project / "data").present().keys() == {"interactions", "items", "users", "knowledge"}


STAND_IN = """
import os, sys, time
from pathlib import Path

Path("pid.part").write_text(str(os.getpid()))
Path("pid.part").rename("pid")
time.sleep(float(sys.argv[2]))
print("much to say" * 10_000, flush=True)
Path("done").touch()
"""
RUN = """
import signal, sys
from pathlib import Path
from recloop import versions

signal.signal(signal.SIGINT, signal.default_int_handler)
with versions.alone(Path.cwd()) as lock:
    versions.dvc(Path.cwd(), lock, *sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
@pytest.mark.parametrize(("word", "seconds"), [("add", 2), ("push", 120)])
def test_a_push_ends_with_its_ingestion_and_an_add_goes_on_to_its_end(
    tmp_path: Path, signal_: signal.Signals, word: str, seconds: int
) -> None:
    """A signal from the terminal reaches the whole group of the ingestion."""
    (tmp_path / "dvc.py").write_text(STAND_IN)
    command = [sys.executable, "-c", RUN, word, str(seconds)]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
    until((tmp_path / "pid").exists)
    dvc_ = psutil.Process(int((tmp_path / "pid").read_text()))
    os.killpg(process.pid, signal_)
    assert process.wait(30)
    if word == "add":
        with pytest.raises(DataError, match="Another ingestion is running"), versions.alone(tmp_path):
            pass
    until(lambda: not dvc_.is_running() or dvc_.status() == psutil.STATUS_ZOMBIE)
    wait_for_lock(tmp_path)
    assert (tmp_path / "done").exists() == (word == "add")


def wait_for_lock(root: Path) -> None:
    """Wait until a DVC that outlived its ingestion has ended."""
    path = root / versions.SCRATCH / "lock"
    if path.exists():
        with path.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.mark.realdata
@pytest.mark.integration
def test_movielens_100k_twice_is_one_version(project: Path) -> None:
    try:
        report = ingest({}, project)
    except SourceError as error:
        pytest.skip(str(error))
    assert report.rows == {"interactions": 100_000, "items": 1_682, "users": 943, "knowledge": 91_631}
    assert ingest({}, project) == replace(report, changed=False)
