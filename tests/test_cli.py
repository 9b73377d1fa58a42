import subprocess
import sys
from pathlib import Path

import pytest


def recloop(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recloop.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_help_names_every_command(tmp_path: Path) -> None:
    text = recloop("--help", cwd=tmp_path).stdout
    for command in ("ingest", "run", "loop", "serve", "benchmark", "status", "promote", "rollback"):
        assert command in text


@pytest.mark.parametrize("command", ["ingest", "run", "loop", "serve", "benchmark", "status", "promote", "rollback"])
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
