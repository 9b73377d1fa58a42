from pathlib import Path

import pytest

from pipelines import ERROR_FILE, run
from recloop.errors import DataError


def broken() -> None:
    raise DataError("The thing breaks the rule; mend it.")


def test_a_callers_error_is_one_sentence_status_2_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ERROR_FILE, str(tmp_path / "sentence"))
    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit) as caught:
        run(broken)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: The thing breaks the rule; mend it.\n"
    assert (tmp_path / "sentence").read_text() == "The thing breaks the rule; mend it."


def test_words_of_the_command_line_reach_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stage", "ease"])
    seen: list[str] = []
    run(seen.append)
    assert seen == ["ease"]
