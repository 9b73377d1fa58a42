import pytest

from recloop.progress import track


def test_silent_when_not_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(track(iter("ab"), "spelling")) == ["a", "b"]
    assert "spelling" in capsys.readouterr().err
