import hashlib
import json
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from recloop.store import Store
from tests.loop.test_deployments import package

HEADER = "user_id,item_id,timestamp\n"


def recloop(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recloop.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_help_names_every_command(tmp_path: Path) -> None:
    text = recloop("--help", cwd=tmp_path).stdout
    for command in (
        "ingest",
        "run",
        "loop",
        "serve",
        "benchmark",
        "status",
        "promote",
        "rollback",
        "forget",
        "canary",
        "shadow",
        "keys",
    ):
        assert command in text


@pytest.mark.parametrize(
    "command", ["ingest", "run", "loop", "serve", "benchmark", "status", "promote", "rollback", "forget"]
)
def test_every_command_has_help(command: str, tmp_path: Path) -> None:
    done = recloop(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        (None, "error: params.yaml does not exist; run the command in the project's root or name the file.\n"),
        ("a: [1", "error: params.yaml is not valid YAML"),
        ("- 1", "error: params.yaml must be a mapping of sections such as 'ingest:' and 'train:'.\n"),
        ("ingest: 3", "error: params.yaml: ingest must be a mapping, not 3; write its keys below it.\n"),
    ],
)
def test_bad_parameters_are_one_sentence_and_status_2(params: str | None, sentence: str, tmp_path: Path) -> None:
    if params is not None:
        (tmp_path / "params.yaml").write_text(params)
    done = recloop("ingest", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def project(folder: Path, params: dict[str, Any]) -> None:
    """What `ingest` looks at before it asks DVC for anything, with data of an earlier version."""
    (folder / ".dvc").mkdir()
    (folder / "data").mkdir()
    (folder / "data/items.parquet").write_bytes(b"an earlier version")
    (folder / "params.yaml").write_text(yaml.safe_dump({"ingest": params}))


def refusal(folder: Path) -> str:
    """The one sentence with which `ingest` refuses what it was given; the data are as they were."""
    done = recloop("ingest", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert [path.read_bytes() for path in (folder / "data").rglob("*")] == [b"an earlier version"]
    assert not (folder / "data.dvc").exists()
    assert not (folder / ".recloop/ingest/new").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("user_id,timestamp\n1,2024-01-01\n", "e.csv has no column 'item_id'; it has: user_id, timestamp; map or"),
        (HEADER + "1,2,soon\n", "e.csv: 1 cell(s) of 'timestamp' are not a date and time, the first is 'soon' in row"),
        ("", "e.csv is empty, but a CSV file needs a header line; fill it or leave it out."),
        (HEADER, "e.csv is empty, but a table needs at least one row; fill it or leave it out."),
    ],
)
def test_a_bad_file_is_one_sentence_and_status_2(content: str, sentence: str, tmp_path: Path) -> None:
    project(tmp_path, {"source": "files", "files": {"interactions": "e.csv"}})
    (tmp_path / "e.csv").write_text(content)
    assert sentence in refusal(tmp_path)


def test_a_truncated_parquet_file_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    project(tmp_path, {"source": "files", "files": {"interactions": "e.parquet"}})
    pl.DataFrame({"user_id": ["1"], "item_id": ["2"], "timestamp": [3]}).write_parquet(tmp_path / "e.parquet")
    (tmp_path / "e.parquet").write_bytes((tmp_path / "e.parquet").read_bytes()[:-20])
    assert "e.parquet is not a readable Parquet file (" in refusal(tmp_path)


def test_a_wrong_checksum_is_one_sentence_and_status_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECLOOP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "ml-1m.zip").write_bytes(b"something else")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        project(tmp_path, {"source": "movielens-1m", "movielens": {"address": address}})
        assert f"{address}/ml-1m.zip has the MD5 checksum 6c7ba9c5a141421e1c03cb9807c97c74, not c4d9" in refusal(
            tmp_path
        )
        server.shutdown()


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"source": "netflix"}, "There is no source 'netflix'; choose from: feedback, files,"),
        ({"source": "synthetic", "synthetic": {"users": "many"}}, "ingest.synthetic.users is 'many', but input should"),
        (
            {
                "source": "sql",
                "sql": {"url": "postgresql+psycopg://u:geheim@127.0.0.1:1/x", "interactions": "SELECT 1"},
            },
            "The database at postgresql+psycopg://u:***@127.0.0.1:1/x cannot be reached (",
        ),
    ],
)
def test_a_bad_parameter_and_a_missing_database_are_one_sentence_and_status_2(
    params: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    project(tmp_path, params)
    said = refusal(tmp_path)
    assert sentence in said
    assert "geheim" not in said


def test_a_file_in_the_way_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    project(tmp_path, {"source": "synthetic"})
    (tmp_path / ".recloop").write_text("")
    assert refusal(tmp_path) == (
        f"error: {tmp_path}/.recloop/ingest cannot be used (Not a directory); correct that and run again.\n"
    )


def test_the_root_names_the_store_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECLOOP_DATABASE_URL", raising=False)
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    with Store.open(root=root) as store:
        store.deploy("promote", "aaaa", "ease", "The gate chose it.")
    done = recloop("status", "--root", str(root), cwd=elsewhere)
    assert done.returncode == 0
    champion, pointer, events, *history = done.stdout.splitlines()
    assert champion.startswith("champion: ease (aaaa) since 20")
    assert champion.endswith(": The gate chose it.")
    assert pointer == (
        "artifacts/champion/champion.json names nothing, not the champion; run the interrupted command again."
    )
    assert events == "events in the store: 0"
    assert len(history) == 1
    refused = recloop("rollback", "--root", str(root), cwd=elsewhere)
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: There is no earlier bundle to roll back to; promote another one instead.\n",
    )
    assert list(elsewhere.iterdir()) == []


def test_a_canary_and_a_shadow_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECLOOP_DATABASE_URL", raising=False)

    def said(*words: str) -> str:
        done = recloop(*words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert said("canary", "--end") == "There is no canary.\n"
    first = package(tmp_path, "ease")
    said("promote", "--reason", "First.")
    second = package(tmp_path, "als")
    assert said("canary", "--share", "0.2") == f"Bundle {second} (als) is the canary now, with 20.0% of the users.\n"
    assert said("canary", "--review").startswith("The canary goes on. ")
    assert second in said("status")
    state = json.loads(said("status", "--json"))
    assert set(state["chain"]) == {first, second}
    assert set(state["review"]["record"]["guardrails"]) == {"failed", "fallback", "empty", "latency"}
    assert f"canary {second} judged at {state['review']['timestamp']}: go on. The canary has 0 users" in said("status")
    assert said("canary", "--share", "0.2", "--interleave") == (
        f"Bundle {second} (als) is interleaved with the champion now, with 20.0% of the users.\n"
    )
    assert f"canary: als ({second}), 20.0% of the users, interleaved with the champion" in said("status")
    assert said("canary", "--review").startswith("The canary goes on. That may be chance: 0 users prefer the canary")
    said("canary", "--end", "--reason", "Enough.")
    said("shadow")
    said("shadow", "--end")
    assert said("canary", "--review") == "There is no canary.\n"
    both = recloop("canary", "--end", "--review", cwd=tmp_path)
    assert (both.returncode, both.stderr) == (2, "error: --end and --review exclude one another; give one of them.\n")
    wrong = recloop("canary", "--share", "1.5", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("command", ["ingest", "run", "loop", "serve", "status", "promote", "rollback", "forget"])
def test_a_root_that_does_not_exist_is_named_and_not_made(command: str, tmp_path: Path) -> None:
    done = recloop(command, "--root", str(tmp_path / "none"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        f"error: {tmp_path}/none is not a folder; name the project's folder with --root.\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_unreachable_database_is_one_sentence_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECLOOP_DATABASE_URL", "postgresql+psycopg://someone:secret@127.0.0.1:9/none")
    done = recloop("status", cwd=tmp_path)
    assert done.returncode == 2
    assert "RECLOOP_DATABASE_URL" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_serving_without_a_bundle_says_what_to_run(tmp_path: Path) -> None:
    done = recloop("serve", cwd=tmp_path)
    assert done.returncode == 2
    assert "artifacts/bundle holds no packaged model; run 'make loop' or 'dvc repro' first." in done.stderr


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = "torch", "polars", "pandas", "bentoml"
    code = f"import recloop, recloop.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path).strip() == "[]"


@pytest.mark.parametrize("words", [[], ["--user", "ana", "--older-than", "365d"]])
def test_either_a_person_or_an_age_is_forgotten(words: list[str], tmp_path: Path) -> None:
    done = recloop("forget", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: Either a person or an age is forgotten; give --user ID or --older-than 365d.\n"


def test_forgetting_says_what_is_gone(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("ingest: {}\n", encoding="utf-8")
    done = recloop("forget", "--user", "ana", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "gone from the store: nothing was there")
    done = recloop("forget", "--older-than", "365d", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "gone from the store: 0 events, which the data hold\n")


def test_what_was_let_out_about_people_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECLOOP_DATABASE_URL", raising=False)

    def line() -> str:
        shown = recloop("status", cwd=tmp_path).stdout.splitlines()
        return next((line for line in shown if line.startswith("privacy: ")), "")

    for model, said in [
        ("a", "privacy: epsilon 2.5 and delta 1e-05 for each person, over 1 bundle"),
        ("b", "privacy: epsilon 5 and delta 2e-05 for each person, over 2 bundles"),
    ]:
        package(tmp_path, model, privacy={"unit": "user", "epsilon": 2.5, "delta": 1e-5})
        recloop("promote", cwd=tmp_path)
        assert line() == said
    package(tmp_path, "c")
    recloop("promote", cwd=tmp_path)
    assert line() == (
        "privacy: nothing bounds what was let out about people: of the bundles in traffic, 1 was trained without"
    )


def test_keys_are_made_listed_and_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECLOOP_DATABASE_URL", raising=False)

    def said(*words: str) -> str:
        done = recloop("keys", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert said("list") == "There are no keys; make one with 'recloop keys create NAME --scope recommend'.\n"
    words = ["create", "the shop", "--scope", "feedback", "--scope", "recommend", "--rate", "100"]
    made = recloop("keys", *words, cwd=tmp_path)
    (text,) = made.stdout.splitlines()
    key_id = text.split("_")[1]
    assert made.stderr == (f"Key {key_id} of 'the shop' may recommend, feedback. It is shown now and never again:\n"), (
        "beside the key, so that the key alone can be piped"
    )
    with Store.open(root=tmp_path) as store:
        assert [key.digest for key in store.api_keys()] == [hashlib.sha256(text.encode()).hexdigest()]
    assert said("list").startswith(f"{key_id}  recommend,feedback  100/s, 100 at once  made 20")
    assert said("revoke", key_id).startswith(f"Key {key_id} of 'the shop' does not count any longer, since 20")
    assert ", revoked 20" in said("list")
    assert text not in said("list")
    rows = [line.split("  ")[1:] for line in said("audit").splitlines()]
    assert rows == [["command line", "revoke key", "done", key_id], ["command line", "create key", "done", key_id]]
    refused = recloop("keys", "create", "a", "--scope", "root", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: There is no scope 'root'; choose from: recommend, feedback, admin.\n"
    refused = recloop("keys", "revoke", "abc", cwd=tmp_path)
    assert refused.stderr == "error: There is no key 'abc'; 'recloop keys list' shows the ids of all keys.\n"
